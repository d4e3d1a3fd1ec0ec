//! Where a request stands in a trace: [W3C Trace Context](https://www.w3.org/TR/trace-context/) level 1. Pure but for
//! the random ids.

use std::fmt;

use http::HeaderMap;
use uuid::Uuid;

/// The header.
pub const TRACEPARENT: &str = "traceparent";

/// A step of a trace: the part of it that this service does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace, in 32 hexadecimal digits.
    pub trace_id: String,
    /// The step, in 16.
    pub span_id: String,
    /// The step that asked for it.
    pub parent_id: Option<String>,
    flags: String,
}

impl Span {
    /// A step of the trace that the headers name, or of a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let span_id = Uuid::new_v4().simple().to_string()[16..].to_owned();
        // More than one is as good as none.
        let mut given = headers.get_all(TRACEPARENT).iter();
        let only = given.next().filter(|_| given.next().is_none());
        match only.and_then(|value| value.to_str().ok()).and_then(parse) {
            Some([trace_id, parent_id, flags]) => Self {
                trace_id: trace_id.to_owned(),
                span_id,
                parent_id: Some(parent_id.to_owned()),
                flags: flags.to_owned(),
            },
            None => Self {
                trace_id: Uuid::new_v4().simple().to_string(),
                span_id,
                parent_id: None,
                flags: "00".to_owned(),
            },
        }
    }
}

impl fmt::Display for Span {
    /// As in the header.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span, flags) = (&self.trace_id, &self.span_id, &self.flags);
        write!(formatter, "00-{trace}-{span}-{flags}")
    }
}

/// Trace, parent and flags of a header that is one. A later version may have more parts after these.
fn parse(text: &str) -> Option<[&str; 3]> {
    let mut parts = text.split('-');
    let mut next = |length: usize| {
        let hexadecimal = |part: &&str| {
            part.len() == length
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        parts.next().filter(hexadecimal)
    };
    let (version, trace, parent, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    let nothing = |part: &str| part.bytes().all(|byte| byte == b'0');
    let fits = version != "ff" && (version != "00" || parts.next().is_none());
    (fits && !nothing(trace) && !nothing(parent)).then_some([trace, parent, flags])
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn span(header: &'static str) -> Span {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(header));
        Span::of(&headers)
    }

    #[test]
    fn a_trace_goes_on() {
        let span = span(GIVEN);
        assert_eq!(span.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.parent_id.as_deref(), Some("00f067aa0ba902b7"));
        let sent = span.to_string();
        assert!(parse(&sent).is_some() && sent != GIVEN && sent.ends_with("-01"));
    }

    #[test]
    fn what_is_no_trace_begins_one() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let span = span(bad);
            assert_eq!(span.parent_id, None, "{bad}");
            assert!(parse(&span.to_string()).is_some());
        }
    }
}

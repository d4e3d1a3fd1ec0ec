//! What the audit log holds of a call. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

/// How many names of changed fields are kept of one call, and how long each of them may be.
const MAX_FIELDS: usize = 64;
const MAX_FIELD_NAME: usize = 63;
/// How deep the names of fields go into a body.
const MAX_DEPTH: usize = 4;
/// What stands for a name that is none, since what a client makes up as a name is as good as a value.
const NO_NAME: &str = "?";

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// What was asked for was answered or done.
    Succeeded,
    /// The caller may not do it, or not so often.
    Denied,
    /// It was not done, because the request or the service had a fault.
    Failed,
    /// The process that was doing it ended before it could tell.
    Unknown,
}

impl Outcome {
    /// The outcome that an HTTP status tells.
    pub const fn of_status(status: u16) -> Self {
        match status {
            0..=399 => Self::Succeeded,
            401 | 403 | 429 => Self::Denied,
            _ => Self::Failed,
        }
    }

    /// The word for it in REST and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A row of the log as it is stored. Words stay text, so that a row that was tampered with can be read too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Identifies the row; later rows have greater ids.
    pub id: i64,
    /// When it was written.
    pub at: Timestamp,
    /// `intent` before a change is tried, `outcome` when a call ended.
    pub stage: String,
    /// Binds the rows of one change together.
    pub intent: Option<Uuid>,
    /// The request id.
    pub request_id: Option<String>,
    /// The key that was shown. Absent: none was valid.
    pub key_id: Option<Uuid>,
    /// The team of the key.
    pub team: Option<String>,
    /// The role of the key.
    pub role: Option<String>,
    /// The operation.
    pub action: String,
    /// The kind of thing that it is about.
    pub resource_kind: String,
    /// The thing that it is about.
    pub resource_id: Option<String>,
    /// How it ended; absent for an intent.
    pub outcome: Option<String>,
    /// The HTTP status of the answer.
    pub status: Option<i32>,
    /// The address it came from.
    pub source: String,
    /// The names of the fields that the body had.
    pub changed_fields: Vec<String>,
    /// How many calls the row stands for.
    pub calls: i32,
    /// The SHA-256 of what an operation removed, in hexadecimal digits.
    pub receipt_sha256: Option<String>,
}

/// Which rows are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryFilter {
    /// Of keys of this team.
    pub team: Option<String>,
    /// Of this key.
    pub key_id: Option<Uuid>,
    /// Of this operation.
    pub action: Option<String>,
    /// About this thing.
    pub resource_id: Option<String>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

impl EntryFilter {
    /// The filter as text, to which cursors are bound.
    pub fn fingerprint_text(&self) -> String {
        format!("audit {self:?}")
    }
}

/// The names of the fields of a body, in dotted form and never with a value. None of a body that is no JSON object.
pub fn field_names(body: &[u8]) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    collect(&fields, "", MAX_DEPTH, &mut names);
    names.sort_unstable();
    names.dedup();
    names.truncate(MAX_FIELDS);
    names
}

fn collect(fields: &Map<String, Value>, above: &str, depth: usize, names: &mut Vec<String>) {
    for (name, value) in fields {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let harmless = (1..=MAX_FIELD_NAME).contains(&name.len()) && name.bytes().all(plain);
        let path = format!("{above}{}", if harmless { name } else { NO_NAME });
        match value {
            Value::Object(inner) if depth > 1 && !inner.is_empty() => {
                collect(inner, &format!("{path}."), depth - 1, names);
            }
            _ => names.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_fields_hold_no_values() {
        let body = br#"{"storage": {"size": "5Gi", "class": null}, "name": "secret", "a\u0000b": 1, "list": [{"x": 1}]}"#;
        assert_eq!(
            field_names(body),
            ["?", "list", "name", "storage.class", "storage.size"]
        );
        assert!(field_names(b"[1]").is_empty() && field_names(b"{").is_empty());
        let many: Map<String, Value> = (0..500)
            .map(|number| (format!("f{number}"), Value::Null))
            .collect();
        assert_eq!(
            field_names(Value::Object(many).to_string().as_bytes()).len(),
            MAX_FIELDS
        );
    }
}

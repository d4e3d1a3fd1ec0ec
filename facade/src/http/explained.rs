//! Answers to what is no request: broken HTTP, or more header than may be. The HTTP library gives them by itself, with
//! nothing but a status, and closes the connection; here they get the problem document that every refusal has. Reads and
//! writes a socket.
//!
//! Over HTTP/2 the same answers are in frames, and go out as they are.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;

use super::{answer, gate::REQUEST_ID};
use crate::domain::failure::{Code, Failure};

/// A connection on which bare answers are explained.
pub struct Explained<S> {
    stream: S,
    /// What is left of an answer that takes the place of a bare one. Nothing follows it.
    last: Option<Bytes>,
}

impl<S> Explained<S> {
    /// The same connection, on which nothing has been answered yet.
    pub const fn new(stream: S) -> Self {
        Self { stream, last: None }
    }
}

/// The failure that a bare answer stands for. Every answer of the gate has a request id; the library's has not.
fn bare(written: &[u8]) -> Option<Failure> {
    let head = std::str::from_utf8(written).ok()?;
    let is_bare = head.ends_with("\r\n\r\n")
        && head.contains("content-length: 0\r\n")
        && !head.contains(REQUEST_ID);
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?;
    match status {
        _ if !is_bare => None,
        "431" => Some(Failure::new(
            Code::HeaderTooLarge,
            "A request may have 100 lines of header, and 32 KiB of them with its first line.",
        )),
        _ if status.starts_with('4') => Some(Failure::new(
            Code::MalformedRequest,
            "This is no HTTP request.",
        )),
        _ => None,
    }
}

/// A whole answer as it is sent, after which the connection ends.
fn in_full(failure: &Failure) -> Option<Bytes> {
    let request_id = Uuid::now_v7().to_string();
    let (parts, body) = answer::from_failure(failure, &request_id).into_parts();
    let body = futures::FutureExt::now_or_never(body.collect())?.ok()?;
    let body = body.to_bytes();
    let mut text = format!("HTTP/1.1 {}\r\n", parts.status);
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\r\n", value.to_str().ok()?));
    }
    text.push_str(&format!(
        "{REQUEST_ID}: {request_id}\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ));
    Some([text.as_bytes(), &body].concat().into())
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, last } = self.get_mut();
        if last.is_none() {
            *last = bare(bytes).as_ref().and_then(in_full);
        }
        let Some(rest) = last else {
            return Pin::new(stream).poll_write(context, bytes);
        };
        while !rest.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            rest.advance(written);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_answers_are_explained() {
        let code = |answer: &str| bare(answer.as_bytes()).map(|failure| failure.code);
        let rest =
            "content-length: 0\r\nconnection: close\r\ndate: Tue, 24 Nov 2026 16:44:52 GMT\r\n\r\n";
        for (answer, expected) in [
            (
                format!("HTTP/1.1 400 Bad Request\r\n{rest}"),
                Some(Code::MalformedRequest),
            ),
            (
                format!("HTTP/1.1 431 Request Header Fields Too Large\r\n{rest}"),
                Some(Code::HeaderTooLarge),
            ),
            (
                format!("HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\n{rest}"),
                None,
            ),
            (format!("HTTP/1.1 204 No Content\r\n{rest}"), None),
            (
                format!("HTTP/1.1 500 Internal Server Error\r\n{rest}"),
                None,
            ),
            (format!("HTTP/1.1 400 Bad Request\r\n{rest}{{"), None),
            ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(code(&answer), expected, "{answer}");
        }
    }
}

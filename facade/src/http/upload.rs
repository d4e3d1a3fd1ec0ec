//! Bodies, bounded in size and time. Reads from the connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::domain::failure::{Code, Failure};

/// The largest body.
pub const MAX_BODY: usize = 1024 * 1024;

/// How much of an unwanted body is read and thrown away, and for how long, so that its sender gets to read the answer
/// instead of a reset connection.
const MAX_DISCARDED: usize = 16 * MAX_BODY;
const DISCARD_DEADLINE: Duration = Duration::from_secs(5);

/// The whole body.
pub async fn read(body: &mut Incoming, deadline: Duration) -> Result<Bytes, Failure> {
    let too_large = || Failure::new(Code::BodyTooLarge, "A body may have 1 MiB.");
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let collect = async {
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|_| Failure::malformed("The body ended too early.", Vec::new()))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > MAX_BODY {
                    return Err(too_large());
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    };
    let timeout = || {
        Failure::new(
            Code::BodyTimeout,
            format!("The body did not arrive within {} s.", deadline.as_secs()),
        )
    };
    tokio::time::timeout(deadline, collect)
        .await
        .unwrap_or_else(|_| Err(timeout()))
}

/// Reads what is left of a body, within bounds, and throws it away.
pub async fn discard(mut body: Incoming) {
    let mut discarded = 0;
    let rest = async {
        while !body.is_end_stream() && discarded < MAX_DISCARDED {
            match body.frame().await {
                Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => break,
            }
        }
    };
    // Out of time is as good as done: the connection is closed then.
    let _ = tokio::time::timeout(DISCARD_DEADLINE, rest).await;
}

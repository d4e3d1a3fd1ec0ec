//! Waiting for a condition with a deadline. Reads the clock, writes nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// The pause between two looks. Short, because most conditions here hold within a second.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks until `condition` answers `Ok`, and returns its answer.
///
/// An `Err` means "not yet". When `limit` has passed, the last one is the cause of the returned error, so that a reader
/// learns what was missing and not only that time ran out, also where the very last look was cut off.
pub async fn until<T, F>(what: &str, limit: Duration, mut condition: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let deadline = Instant::now() + limit;
    let mut missing = None;
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let error = match tokio::time::timeout(remaining, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => match missing {
                Some(error) => {
                    anyhow::Error::context(error, "the last look was cut off; the one before found")
                }
                None => anyhow!("no answer"),
            },
        };
        if Instant::now() + PAUSE >= deadline {
            return Err(error).with_context(|| format!("{what}: not within {} s", limit.as_secs()));
        }
        missing = Some(error);
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_as_soon_as_the_condition_holds() {
        let mut looks = 0;
        let answer = until("third look", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 {
                Ok(looks)
            } else {
                Err(anyhow!("look {looks}"))
            }
        })
        .await
        .unwrap();
        assert_eq!(answer, 3);
    }

    #[tokio::test]
    async fn tells_the_last_reason_when_time_is_up() {
        let error = until::<(), _>("the impossible", Duration::from_millis(250), async || {
            Err(anyhow!("still not"))
        })
        .await
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("the impossible") && text.contains("still not"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_last_look_that_is_cut_off_hides_no_reason() {
        let mut looks = 0;
        let error = until::<(), _>("the impossible", Duration::from_millis(250), async || {
            looks += 1;
            if looks > 1 {
                std::future::pending::<()>().await;
            }
            Err(anyhow!("still not"))
        })
        .await
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("cut off") && text.contains("still not"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_condition_that_hangs_does_not_hang_the_caller() {
        let error = until::<(), _>("silence", Duration::from_millis(250), async || {
            std::future::pending::<()>().await;
            Ok(())
        })
        .await
        .unwrap_err();
        assert!(format!("{error:#}").contains("no answer"));
    }
}

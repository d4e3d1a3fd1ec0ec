//! The beginning and the end of a process. Touches process-wide state: the cryptography provider and signals.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Makes ring the cryptography of every TLS connection of this process. The first line of every `main`.
///
/// Without it, the first TLS client panics as soon as two dependencies link different providers.
pub fn install_crypto_provider() {
    // Fails only when a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A token that is cancelled when the process is asked to end (SIGTERM, SIGINT). Needs a Tokio runtime.
///
/// Where a signal cannot be watched, that is logged, and the signal ends the process at once as it does by default.
pub fn shutdown_signal() -> CancellationToken {
    let shutdown = CancellationToken::new();
    for (name, kind) in [
        ("SIGTERM", SignalKind::terminate()),
        ("SIGINT", SignalKind::interrupt()),
    ] {
        match signal(kind) {
            Ok(mut signals) => {
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    signals.recv().await;
                    tracing::info!(signal.name = name, "asked to end");
                    shutdown.cancel();
                });
            }
            Err(error) => {
                tracing::warn!(signal.name = name, error.message = %error, "a signal cannot be watched")
            }
        }
    }
    shutdown
}

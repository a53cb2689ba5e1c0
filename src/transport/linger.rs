//! A connection that was refused into one whose client could read why.
//! Looks at nothing that still comes, and waits for it only a moment.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::bounds;

/// Says the last word and closes. Bytes that nobody reads would turn the close into a reset, which overtakes what was said (RFC 9112 §9.6).
pub async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin, last: &[u8]) {
    let _ = timeout(bounds::REFUSED_LINGER, async {
        if stream.write_all(last).await.is_err() || stream.shutdown().await.is_err() {
            return;
        }
        let mut scratch = vec![0; 16 * 1024];
        let mut taken = 0;
        while let Ok(count @ 1..) = stream.read(&mut scratch).await {
            taken += count;
            // Whoever sends on and on takes no more of the worker than others can spare.
            if taken > bounds::LINGER_AT_ONCE {
                sleep(Duration::from_millis(1)).await;
            }
        }
    })
    .await;
}

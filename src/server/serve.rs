//! The life of a connection: its turns, and the waits between them.

use super::connection::Connection;
use crate::shard::{Outcome, WaitFor};
use std::future::poll_fn;

impl Connection {
    /// Serves the client until either side closes.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async fn would keep the connection in its task twice: as its argument, and as its own"
    )]
    pub(super) fn serve(mut self) -> impl Future<Output = ()> + Send {
        async move {
            loop {
                let outcome = poll_fn(|cx| self.poll_turns(cx)).await;
                let ended = match outcome {
                    Outcome::Wait { wait: WaitFor::Shard(pending), muted } => {
                        self.wait_for_shard(pending, muted).await
                    }
                    // Boxed: it takes room in the task only while it lasts.
                    Outcome::Wait { wait, muted } => Box::pin(self.wait_for(wait, muted)).await,
                    Outcome::Flush | Outcome::Replied | Outcome::Drained { .. } => {
                        tokio::task::yield_now().await;
                        Ok(())
                    }
                    Outcome::Close | Outcome::Sever => return,
                };
                if ended.is_err() {
                    return;
                }
            }
        }
    }
}

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
                let ended = match poll_fn(|cx| self.poll_turns(cx)).await {
                    Outcome::Wait { wait: WaitFor::Shard(pending), muted } => {
                        let Some(served) = self.served(pending).await else { return };
                        match self.take_served(served, muted) {
                            Some(wait) => Box::pin(self.wait_for(wait, muted)).await,
                            None => Ok(()),
                        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle connection costs its task: what it waits for must not make room in there.
    #[test]
    fn a_task_is_little_more_than_its_connection() {
        fn size_of_output<A, F>(_: impl FnOnce(A) -> F) -> usize {
            size_of::<F>()
        }
        let (task, connection) = (size_of_output(Connection::serve), size_of::<Connection>());
        assert!(task <= connection + 96, "{task} bytes for a connection of {connection}");
    }
}

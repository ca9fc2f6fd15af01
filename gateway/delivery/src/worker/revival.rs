//! A task of a group that dies is begun again: without it the group's mail would lie there and nobody would know.
//!
//! A panic is a fault in our code. It is logged as an error and counted; the pause before the next beginning doubles, so
//! that a fault that comes back at once does not eat the processor.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use securanet_gateway::{connection::Shutdown, model::GroupId};
use tokio::time::{Instant, sleep};

use crate::metric;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a task is called in logs and metrics, and whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) group: GroupId,
}

/// Begins a task until it comes to its end.
pub(crate) async fn revived<T, F>(task: Task, shutdown: &Shutdown, mut begin: impl FnMut() -> F) -> T
where
    F: Future<Output = T>,
{
    let mut pause = PAUSE_MIN;
    loop {
        let began = Instant::now();
        let panic = match AssertUnwindSafe(begin()).catch_unwind().await {
            Ok(ended) => return ended,
            Err(panic) => panic,
        };
        metric::died(task.name);
        let Task { name, group } = task;
        let why = words(&*panic);
        tracing::error!(task = name, %group, why, "a task of outbound mail has died of a fault in our code, it begins again");
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE_MIN;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.draining(), if !shutdown.is_draining() => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not known")
}

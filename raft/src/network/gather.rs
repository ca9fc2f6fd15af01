//! What goes out on a stream, gathered into frames: what nobody waits for goes with what comes next.
//!
//! A frame costs more than most of what is in it: a system call, encryption, and waking the other end. Heartbeats, news of
//! commits and their answers are some octets each, and not in a hurry; entries and what has become of them go at once, and
//! take along what waits.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// What goes into a frame.
pub(super) trait Parcel {
    /// Whether somebody waits for it.
    fn is_urgent(&self) -> bool;
    /// Octets that count.
    fn bytes(&self) -> usize;
}

/// What a frame takes. A larger parcel goes alone.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) parcels_max: usize,
    pub(super) bytes_max: usize,
    /// What nobody waits for goes at the latest after this time.
    pub(super) gather: Duration,
}

/// A queue whose parcels go out in frames.
pub(super) struct Gathered<T> {
    queue: mpsc::Receiver<T>,
    frame: Frame,
    /// Came with the last frame, and was too large for it.
    left: Option<T>,
}

impl<T: Parcel> Gathered<T> {
    pub(super) fn new(queue: mpsc::Receiver<T>, frame: Frame) -> Self {
        Self { queue, frame, left: None }
    }

    /// What goes into the next frame; none when the queue has ended.
    pub(super) async fn next(&mut self) -> Option<Vec<T>> {
        let first = match self.left.take() {
            Some(left) => left,
            None => self.queue.recv().await?,
        };
        let (mut bytes, mut is_urgent) = (first.bytes(), first.is_urgent());
        let mut parcels = vec![first];
        let until = Instant::now() + self.frame.gather;
        while parcels.len() < self.frame.parcels_max {
            let next = match self.queue.try_recv() {
                Ok(next) => next,
                Err(_) if is_urgent => break,
                Err(_) => match timeout_at(until, self.queue.recv()).await {
                    Ok(Some(next)) => next,
                    _ => break,
                },
            };
            bytes += next.bytes();
            if bytes > self.frame.bytes_max {
                self.left = Some(next);
                break;
            }
            is_urgent |= next.is_urgent();
            parcels.push(next);
        }
        Some(parcels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Test = (bool, usize);

    impl Parcel for Test {
        fn is_urgent(&self) -> bool {
            self.0
        }

        fn bytes(&self) -> usize {
            self.1
        }
    }

    fn gathered(parcels_max: usize) -> (mpsc::Sender<Test>, Gathered<Test>) {
        let (sender, queue) = mpsc::channel(100);
        (sender, Gathered::new(queue, Frame { parcels_max, bytes_max: 10, gather: Duration::from_secs(5) }))
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_waits_for_what_somebody_does() {
        let (sender, mut gathered) = gathered(100);
        let begun = Instant::now();
        sender.send((false, 0)).await.unwrap();
        assert_eq!(gathered.next().await, Some(vec![(false, 0)]));
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        let later = async {
            sender.send((false, 1)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            sender.send((true, 2)).await.unwrap();
            sender.send((false, 3)).await.unwrap();
        };
        let (frame, ()) = tokio::join!(gathered.next(), later);
        assert_eq!(frame, Some(vec![(false, 1), (true, 2), (false, 3)]));
        assert_eq!(begun.elapsed(), Duration::from_secs(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_has_so_many_and_so_much_and_what_is_too_large_goes_alone() {
        let (sender, mut gathered) = gathered(3);
        for bytes in [4, 4, 4, 11, 0, 0, 0] {
            sender.send((true, bytes)).await.unwrap();
        }
        drop(sender);
        let mut frames = Vec::new();
        while let Some(frame) = gathered.next().await {
            frames.push(frame.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>());
        }
        assert_eq!(frames, [vec![4, 4], vec![4], vec![11], vec![0, 0, 0]]);
    }
}

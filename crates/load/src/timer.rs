//! A timer that is exact to some microseconds: those of tokio are a millisecond wide.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A timer of the system, which tokio waits for beside its sockets.
pub(crate) struct Timer {
    timer: AsyncFd<OwnedFd>,
    /// When it goes off next, if it is set.
    set: Option<Instant>,
}

impl Timer {
    /// A timer that is not set.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for descriptors that may be closed; an owned one is not"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: AsyncFd::new(timer)?,
            set: None,
        })
    }

    /// Ready once it is that late. Until then the task is woken at the latest then.
    pub(crate) fn poll_at(&mut self, context: &mut Context<'_>, at: Instant) -> Poll<()> {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Poll::Ready(());
            }
            if self.set.is_none_or(|set| set > at) {
                self.set_to(left);
                self.set = Some(at);
            }
            // An error means that the runtime ends, and this task with it.
            if let Ok(mut guard) = ready!(self.timer.poll_read_ready(context)) {
                // What it has counted is not read: it is forgotten when it is set the next time.
                guard.clear_ready();
                self.set = None;
            } else {
                return Poll::Pending;
            }
        }
    }

    fn set_to(&self, left: Duration) {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: left.try_into().expect("no call is due in centuries"),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)
            .expect("a timer can be set to any time");
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn it_goes_off_when_it_is_time_each_time() {
        let mut timer = Timer::new().unwrap();
        for _ in 0..3 {
            let at = Instant::now() + MS;
            poll_fn(|context| timer.poll_at(context, at)).await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn a_nearer_time_takes_the_place_of_a_farther_one() {
        let mut timer = Timer::new().unwrap();
        let hour = Instant::now() + 3_600_000 * MS;
        poll_fn(|context| {
            assert!(timer.poll_at(context, hour).is_pending());
            Poll::Ready(())
        })
        .await;
        let at = Instant::now() + MS;
        poll_fn(|context| timer.poll_at(context, at)).await;
        assert!(Instant::now() >= at);
        // It is waited for anew.
        poll_fn(|context| {
            assert!(timer.poll_at(context, hour).is_pending());
            Poll::Ready(())
        })
        .await;
    }
}

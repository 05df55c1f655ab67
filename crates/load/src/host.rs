//! What the host of a virtual machine gives to others: time in which a processor had something to do and
//! did not run. What is measured meanwhile says more about the host than about the server.

use std::fs;

/// The part of the processors' time, of 1, that a host may give to others before what is measured
/// meanwhile is not to be believed.
pub const STOLEN_MAX: f64 = 0.05;

/// The time of all processors up to now, in ticks of the system.
///
/// Linux counts it in `/proc/stat`, whose field `steal` is that of a host; see proc_stat(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Processors {
    all: u64,
    stolen: u64,
}

/// The fields of a line that divide all time: user, nice, system, idle, iowait, irq, softirq, steal. What
/// follows is part of the first two.
const FIELDS: usize = 8;

impl Processors {
    /// Up to now; `None` if the system does not tell.
    pub(crate) fn now() -> Option<Self> {
        Self::read(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// The part of their time since an earlier look, of 1, that the host gave to others.
    fn stolen_since(&self, earlier: &Self) -> f64 {
        let stolen = self.stolen.saturating_sub(earlier.stolen);
        stolen as f64 / self.all.saturating_sub(earlier.all).max(1) as f64
    }

    fn read(stat: &str) -> Option<Self> {
        let all = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times = all
            .split_whitespace()
            .take(FIELDS)
            .map(|it| it.parse().ok());
        let times = times.collect::<Option<Vec<u64>>>()?;
        Some(Self {
            all: times.iter().sum(),
            stolen: *times.get(FIELDS - 1)?,
        })
    }
}

/// The part of the processors' time between two looks, of 1, that the host gave to others; `None` if the
/// system did not tell.
pub(crate) fn stolen(before: Option<Processors>, after: Option<Processors>) -> Option<f64> {
    let (before, after) = before.zip(after)?;
    Some(after.stolen_since(&before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_the_host_takes_is_of_all_time() {
        let read = |line: &str| Processors::read(&format!("{line}\ncpu0 1 2 3 4 5 6 7 8 9 10\n"));
        let before = read("cpu  100 0 50 800 20 0 10 20 7 0").unwrap();
        let after = read("cpu  130 0 60 850 20 0 10 30 9 0").unwrap();
        assert_eq!(after.stolen_since(&before), 0.1);
        assert_eq!(after.stolen_since(&after), 0.0);
        // An old system does not tell.
        assert_eq!(read("cpu  100 0 50 800 20 0 10"), None);
        assert_eq!(read("cpu  100 0 50 800 20 0 10 many"), None);
        assert_eq!(Processors::read("intr 1 2 3 4 5 6 7 8"), None);
    }
}

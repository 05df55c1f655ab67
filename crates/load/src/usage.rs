//! What a process used, as far as the system knows, and what a call cost of it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a Firn says it made durable so many times: each is a write with a flush.
const FLUSHES: &str = "firn_store_flush_seconds_count";

/// How long a Firn may take to tell its metrics.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process that is looked at while it is loaded.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What it is called in what is printed.
    pub name: String,
    /// Its process id.
    pub id: u32,
    /// The admin port of a Firn, for what only the process itself knows.
    pub metrics: Option<SocketAddr>,
}

impl Watched {
    /// A process.
    pub fn new(name: impl Into<String>, id: u32) -> Self {
        Self {
            name: name.into(),
            id,
            metrics: None,
        }
    }

    /// This process.
    #[must_use]
    pub fn own(name: impl Into<String>) -> Self {
        Self::new(name, std::process::id())
    }

    /// The same with an admin port.
    #[must_use]
    pub fn metrics(mut self, address: SocketAddr) -> Self {
        self.metrics = Some(address);
        self
    }

    /// How often it has made the disk flush up to now, if it tells.
    pub(crate) async fn flushes(&self) -> Option<u64> {
        flushes(self.metrics?).await
    }

    /// What it has used up to now; it has flushed so often.
    pub(crate) fn usage(&self, flushes: Option<u64>) -> io::Result<Usage> {
        Usage::of(self.id, flushes)
    }
}

/// What a process has used since it began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    user: Duration,
    system: Duration,
    resident_bytes: u64,
    written_bytes: Option<u64>,
    switches: u64,
    pub(crate) flushes: Option<u64>,
}

/// What each call cost of a process, on average.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    /// The name of the process.
    pub name: String,
    /// Processor time of its own code, in microseconds.
    pub user_us: f64,
    /// Processor time of the kernel on its behalf, in microseconds.
    pub system_us: f64,
    /// Bytes that it made the kernel write to a disk; `None` if the system does not tell.
    pub written_bytes: Option<f64>,
    /// Flushes of a disk; `None` if the process does not tell.
    pub flushes: Option<f64>,
    /// How often one of its threads had to wait.
    pub switches: f64,
    /// The memory that it had at the end, of the process as a whole, in bytes.
    pub resident_bytes: u64,
}

impl Cost {
    /// What calls cost that were made between two looks.
    pub(crate) fn between(name: &str, before: &Usage, after: &Usage, calls: u64) -> Self {
        let calls = calls.max(1) as f64;
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / calls;
        let both = |before: Option<u64>, after: Option<u64>| Some(each(before?, after?));
        let time =
            |before, after: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / calls;
        Self {
            name: name.to_owned(),
            user_us: time(before.user, after.user),
            system_us: time(before.system, after.system),
            written_bytes: both(before.written_bytes, after.written_bytes),
            flushes: both(before.flushes, after.flushes),
            switches: each(before.switches, after.switches),
            resident_bytes: after.resident_bytes,
        }
    }

    /// All processor time, in microseconds.
    #[must_use]
    pub fn processor_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// The processor time that a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
    /// In processes that it started and that have ended since.
    pub ended: Duration,
}

impl Times {
    /// What a process has used up to now.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(process: u32) -> io::Result<Self> {
        Self::in_folder(&format!("/proc/{process}"))
    }

    /// What a thread of a process has used up to now.
    ///
    /// # Errors
    /// There is no such thread.
    pub fn of_thread(process: u32, thread: u32) -> io::Result<Self> {
        Self::in_folder(&format!("/proc/{process}/task/{thread}"))
    }

    fn in_folder(folder: &str) -> io::Result<Self> {
        let stat = format!("{folder}/stat");
        let text = fs::read_to_string(&stat)?;
        Self::read(&text).ok_or_else(|| odd(&stat))
    }

    /// Those in `/proc/PID/stat`.
    fn read(stat: &str) -> Option<Self> {
        // The name is in brackets and may hold anything; what follows is numbers.
        let (_, numbers) = stat.rsplit_once(')')?;
        let time = |index: usize| -> Option<Duration> {
            let ticks: u64 = numbers.split_whitespace().nth(index)?.parse().ok()?;
            let second = rustix::param::clock_ticks_per_second() as f64;
            Some(Duration::from_secs_f64(ticks as f64 / second))
        };
        // Fields 14 to 17, of which the first two are before the bracket's end.
        Some(Self {
            user: time(11)?,
            system: time(12)?,
            ended: time(13)? + time(14)?,
        })
    }

    /// What it has used itself.
    #[must_use]
    pub fn own(&self) -> Duration {
        self.user + self.system
    }
}

/// A file of the system does not look as it is expected to.
fn odd(path: &str) -> io::Error {
    io::Error::other(format!("{path} has changed"))
}

impl Usage {
    fn of(process: u32, flushes: Option<u64>) -> io::Result<Self> {
        let times = Times::of(process)?;
        let path = |name: &str| format!("/proc/{process}/{name}");
        let status = path("status");
        let text = fs::read_to_string(&status)?;
        let resident = number_of(&text, "VmRSS").ok_or_else(|| odd(&status))?;
        let io = fs::read_to_string(path("io"));
        Ok(Self {
            user: times.user,
            system: times.system,
            resident_bytes: resident * 1024,
            // Only the owner of a process may know.
            written_bytes: io.ok().and_then(|it| number_of(&it, "write_bytes")),
            switches: switches(process)?,
            flushes,
        })
    }
}

/// The number in a line `name: number`, without what follows it.
fn number_of(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then_some(value)
    })?;
    value.split_whitespace().next()?.parse().ok()
}

/// How often the threads of a process have waited. Those of threads that have ended are forgotten
/// by the system.
fn switches(process: u32) -> io::Result<u64> {
    let mut all = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // It may end while it is looked at.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else {
            continue;
        };
        all += number_of(&status, "voluntary_ctxt_switches").unwrap_or_default();
    }
    Ok(all)
}

/// How often a Firn has made the disk flush, if it tells.
async fn flushes(admin: SocketAddr) -> Option<u64> {
    let asked = async {
        let mut socket = TcpStream::connect(admin).await?;
        let request = format!("GET /metrics HTTP/1.0\r\nhost: {admin}\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    sample(&answer, FLUSHES)
}

/// The sum of a counter's samples in the text format of Prometheus; `None` if it has none.
fn sample(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        let value = value.split_whitespace().next()?;
        value.parse::<f64>().ok().map(|value| value as u64)
    });
    values.reduce(|one, other| one + other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_process_with_an_odd_name_are_found() {
        let stat = "7 (a) 1 2) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 7 3 20 0 4 0 9 9 9";
        let second = rustix::param::clock_ticks_per_second() as f64;
        let ticks = |count: f64| Duration::from_secs_f64(count / second);
        let times = Times::read(stat).unwrap();
        assert_eq!((times.user, times.system), (ticks(150.0), ticks(50.0)));
        assert_eq!((times.ended, times.own()), (ticks(10.0), ticks(200.0)));
        assert_eq!(Times::read("7 a"), None);
    }

    #[test]
    fn numbers_are_found_by_their_name() {
        let text = "VmRSS:\t    1234 kB\nwrite_bytes: 4096\n";
        assert_eq!(number_of(text, "VmRSS"), Some(1234));
        assert_eq!(number_of(text, "write_bytes"), Some(4096));
        assert_eq!(number_of(text, "bytes"), None);
    }

    #[test]
    fn samples_of_a_counter_are_added_up() {
        let text = "# TYPE flushes_total counter\nflushes_total{shard=\"a}\"} 3\n\
                    flushes_total 4.0\nflushes_total_other 9\n";
        assert_eq!(sample(text, "flushes_total"), Some(7));
        assert_eq!(sample(text, "flushes"), None);
    }

    #[tokio::test]
    async fn this_process_is_known() {
        let own = Watched::own("load");
        let own = own.usage(own.flushes().await).unwrap();
        assert!(own.resident_bytes > 0);
        assert_eq!(own.flushes, None);
    }

    #[test]
    fn a_cost_is_what_came_between() {
        let before = Usage {
            user: Duration::from_millis(10),
            system: Duration::ZERO,
            resident_bytes: 1,
            written_bytes: Some(100),
            switches: 5,
            flushes: None,
        };
        let after = Usage {
            user: Duration::from_millis(30),
            system: Duration::from_millis(10),
            resident_bytes: 7,
            written_bytes: Some(4200),
            switches: 25,
            flushes: Some(3),
        };
        let cost = Cost::between("it", &before, &after, 10);
        let expected = Cost {
            name: "it".to_owned(),
            user_us: 2000.0,
            system_us: 1000.0,
            written_bytes: Some(410.0),
            flushes: None,
            switches: 2.0,
            resident_bytes: 7,
        };
        assert_eq!(cost, expected);
        assert_eq!(cost.processor_us(), 3000.0);
    }
}

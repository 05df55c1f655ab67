//! Shows what Firn does: a shopping cart over gRPC and HTTP/JSON, and a kill in the middle.
//!
//! Everything lives in a private temporary folder and on free ports, so the demo disturbs nothing
//! and nothing of it stays. It needs Rust and nothing else.

mod http;

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::build;
use crate::process::{Process, StopAsked, free_port};

/// How many adds are acknowledged before the proxy is killed: enough to be in full swing.
const ACKNOWLEDGED_BEFORE_KILL: usize = 300;

/// How long Firn may take until it serves. It takes a small part of it; slow machines get time.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long the adds may take until the kill.
const ADDS_LIMIT: Duration = Duration::from_secs(60);

/// How long Firn may take to stop: its own grace for requests and for its function, and some more.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How often things that are waited for are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What happens when everything was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// Stay up, to be tried.
    StayUp,
    /// Stop everything.
    End,
}

/// Runs the demo. `Ok(true)` if everything that should be there was.
pub(crate) fn run(root: &Path, afterwards: Afterwards) -> Result<bool> {
    let stop = StopAsked::watch()?;
    println!("A shopping cart on Firn, and a kill -9 in the middle.\n");
    let programs = Programs::build(root)?;
    let mut stage = Stage::new(programs)?;
    show(&mut stage, &stop)?;
    match afterwards {
        Afterwards::StayUp => stay_up(&mut stage, &stop)?,
        Afterwards::End => stage.stop()?,
    }
    Ok(true)
}

fn show(stage: &mut Stage, stop: &StopAsked) -> Result<()> {
    let go_on = || {
        ensure!(!stop.now(), "stopped by hand");
        Ok(())
    };
    step("start", || {
        stage.start()?;
        Ok(format!(
            "firn dev on {}, with the cart beside it",
            stage.clients
        ))
    })?;
    go_on()?;
    step("gRPC", || {
        stage.call(
            "AddItem",
            r#"{"cartId":"alice","productId":"tea","name":"Tea","quantity":2}"#,
        )?;
        Ok("AddItem: two packets of tea for alice".to_owned())
    })?;
    step("HTTP/JSON", || {
        let body = r#"{"productId":"milk","name":"Milk","quantity":1}"#;
        http::Connection::open(stage.clients)?.post("/carts/alice/items", body)?;
        Ok("POST /carts/alice/items: a bottle of milk".to_owned())
    })?;
    step("read", || {
        let cart = stage.call("GetCart", r#"{"cartId":"alice"}"#)?;
        ensure!(
            holds(&cart, "tea") && holds(&cart, "milk"),
            "alice's cart is {cart}"
        );
        Ok("GetCart: both are there".to_owned())
    })?;
    go_on()?;
    let writer = Writer::start(stage.clients);
    step("adds", || {
        writer.wait_for(ACKNOWLEDGED_BEFORE_KILL)?;
        Ok(format!(
            "{ACKNOWLEDGED_BEFORE_KILL} items for bob acknowledged, more on their way"
        ))
    })?;
    let acknowledged = step("kill -9", || {
        stage.kill()?;
        let acknowledged = writer.end()?;
        Ok((
            format!("after {} acknowledged items", acknowledged),
            acknowledged,
        ))
    })?;
    go_on()?;
    step("start", || {
        stage.start()?;
        Ok("again, on the same data".to_owned())
    })?;
    step("check", || {
        let cart = stage.call("GetCart", r#"{"cartId":"bob"}"#)?;
        let lost: Vec<String> = (1..=acknowledged)
            .map(item)
            .filter(|item| !holds(&cart, item))
            .collect();
        ensure!(
            lost.is_empty(),
            "{} of {acknowledged} acknowledged items are gone, the first is {}",
            lost.len(),
            lost[0]
        );
        let cart = stage.call("GetCart", r#"{"cartId":"alice"}"#)?;
        ensure!(
            holds(&cart, "tea") && holds(&cart, "milk"),
            "alice's cart is {cart}"
        );
        Ok(format!(
            "all {acknowledged} items for bob are there, and alice's too"
        ))
    })?;
    Ok(())
}

fn stay_up(stage: &mut Stage, stop: &StopAsked) -> Result<()> {
    let Stage {
        clients,
        admin,
        folder,
        programs,
        ..
    } = &*stage;
    let firn = programs.firn.display();
    println!(
        "
Firn stays up.

  clients  {clients}  gRPC, gRPC-Web and HTTP/JSON
  admin    {admin}  health, entities, contract
  files    {}

Try, from another terminal:

  curl {clients}/carts/alice
  {firn} call --server {clients} shop.Cart/AddItem '{{\"cartId\":\"alice\",\"productId\":\"jam\",\"quantity\":1}}'
  {firn} entity events --admin {admin} shop.Cart alice

Ctrl-C ends it and removes the files.",
        folder.display()
    );
    while !stop.now() {
        if let Some(status) = stage.ended()? {
            bail!("Firn ended by itself with {status}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    println!();
    stage.stop()
}

/// What a step says and gives on.
trait Outcome {
    type Value;
    fn parts(self) -> (String, Self::Value);
}

impl Outcome for String {
    type Value = ();
    fn parts(self) -> (String, ()) {
        (self, ())
    }
}

impl<T> Outcome for (String, T) {
    type Value = T;
    fn parts(self) -> Self {
        self
    }
}

/// Does one step and prints what it did and how long it took.
fn step<O: Outcome>(name: &str, work: impl FnOnce() -> Result<O>) -> Result<O::Value> {
    let started = Instant::now();
    let (text, value) = work()
        .with_context(|| format!("the step {name:?} failed"))?
        .parts();
    println!("  {name:10} {text:58} {:>8}", shown(started.elapsed()));
    Ok(value)
}

fn shown(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// The programs of the demo.
struct Programs {
    firn: PathBuf,
    cart: PathBuf,
}

impl Programs {
    fn build(root: &Path) -> Result<Self> {
        step("build", || {
            let release =
                build::programs(root, build::Profile::Release, &["firn", "samples-rust"])?;
            let programs = Self {
                firn: release.join("firn"),
                cart: release.join("samples"),
            };
            Ok(("firn and the cart, optimised".to_owned(), programs))
        })
    }
}

/// Firn with its function, its files and its addresses.
struct Stage {
    programs: Programs,
    folder: PathBuf,
    clients: SocketAddr,
    admin: SocketAddr,
    /// Where the cart dials in.
    function: SocketAddr,
    firn: Option<Process>,
}

impl Stage {
    fn new(programs: Programs) -> Result<Self> {
        let folder = env::temp_dir().join(format!("firn-demo-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let address =
            || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        Ok(Self {
            programs,
            folder,
            clients: address()?,
            admin: address()?,
            function: address()?,
            firn: None,
        })
    }

    /// Starts Firn, which starts the cart, and waits until both serve.
    fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.programs.firn);
        command
            .arg("dev")
            .args(["--listen", &self.clients.to_string()])
            .args(["--admin", &self.admin.to_string()])
            .args(["--function-listen", &self.function.to_string()])
            .args(["--family", "firn"])
            .arg("--store")
            .arg(format!("embedded:{}", self.folder.join("data").display()))
            .arg("--")
            .arg(&self.programs.cart)
            .current_dir(&self.folder);
        let firn = Process::start("firn", &mut command, &self.folder.join("firn.log"))?;
        let admin = self.admin;
        self.firn
            .insert(firn)
            .wait("until it served", START_LIMIT, |_| {
                http::is_ready(admin, "/readyz")
            })
    }

    /// Calls a method of the cart over gRPC; gives the reply as JSON.
    fn call(&self, method: &str, request: &str) -> Result<String> {
        let output = Command::new(&self.programs.firn)
            .args([
                "call",
                "--server",
                &self.clients.to_string(),
                "--timeout",
                "30",
            ])
            .arg(format!("shop.Cart/{method}"))
            .arg(request)
            .output()
            .context("cannot run firn call")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "firn call {method}: {}",
            errors.trim()
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Kills Firn as a crash does. The cart stays, as after a crash.
    fn kill(&mut self) -> Result<()> {
        self.firn
            .take()
            .ok_or_else(|| anyhow!("Firn does not run"))?
            .kill()
    }

    fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.firn.as_mut().map_or(Ok(None), Process::ended)
    }

    /// Lets Firn end in order, and its function with it.
    fn stop(&mut self) -> Result<()> {
        let firn = self
            .firn
            .take()
            .ok_or_else(|| anyhow!("Firn does not run"))?;
        step("stop", || {
            let status = firn.stop(STOP_LIMIT)?;
            ensure!(status.success(), "Firn ended with {status}");
            Ok("Firn and the cart, in order".to_owned())
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(firn) = self.firn.take() {
            // It is on the way out already: only the end counts, not how.
            let _ = firn.stop(STOP_LIMIT);
        }
        end_left_behind(&self.folder.join("function.pid"));
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} stays: {error}", self.folder.display());
        }
    }
}

/// Ends the cart that a Firn which was killed left behind: it wrote down the cart's process group,
/// and takes the note away when it ends the cart itself.
fn end_left_behind(note: &Path) {
    let text = fs::read_to_string(note).unwrap_or_default();
    let group = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    if let Some(group) = group.and_then(Pid::from_raw) {
        // It may have ended since.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Adds item after item to bob's cart until the connection breaks.
struct Writer {
    acknowledged: Arc<AtomicUsize>,
    thread: JoinHandle<Result<()>>,
}

impl Writer {
    fn start(clients: SocketAddr) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&acknowledged);
        let thread = thread::spawn(move || {
            let mut connection = http::Connection::open(clients)?;
            for number in 1.. {
                let item = item(number);
                let body = format!(r#"{{"productId":"{item}","name":"{item}","quantity":1}}"#);
                match connection.post("/carts/bob/items", &body) {
                    Ok(_) => counter.store(number, Ordering::Release),
                    Err(http::Error::Broken(_)) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(())
        });
        Self {
            acknowledged,
            thread,
        }
    }

    fn wait_for(&self, count: usize) -> Result<()> {
        let until = Instant::now() + ADDS_LIMIT;
        while self.acknowledged.load(Ordering::Acquire) < count {
            let seen = self.acknowledged.load(Ordering::Acquire);
            ensure!(!self.thread.is_finished(), "the adds ended after {seen}");
            ensure!(
                Instant::now() < until,
                "{seen} adds in {} s",
                ADDS_LIMIT.as_secs()
            );
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Waits for the end of the adds, after the proxy has gone; gives how many were acknowledged.
    fn end(self) -> Result<usize> {
        self.thread
            .join()
            .map_err(|_| anyhow!("the writer panicked"))??;
        Ok(self.acknowledged.load(Ordering::Acquire))
    }
}

/// The product with this number.
fn item(number: usize) -> String {
    format!("item-{number}")
}

/// Whether a cart, as JSON, holds a product.
fn holds(cart: &str, product: &str) -> bool {
    let packed: String = cart.split_whitespace().collect();
    packed.contains(&format!(r#""productId":"{product}""#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_found_whole() {
        let cart = "{\"items\": [ {\"productId\": \"item-12\", \"quantity\": 1} ]}";
        assert!(holds(cart, "item-12"));
        assert!(!holds(cart, "item-1"));
    }

    #[test]
    fn times_are_short() {
        assert_eq!(shown(Duration::from_micros(41_900)), "41 ms");
        assert_eq!(shown(Duration::from_millis(12_340)), "12.3 s");
    }
}

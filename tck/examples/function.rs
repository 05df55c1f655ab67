//! Judges one function: the kit without the rest of Firn.
//!
//! `cargo run -p firn-tck --example function -- ADDRESS [--token TOKEN] [--filter TEXT] [--seed SEED]
//! [--commands COUNT] [--timeout SECONDS] [--json FILE] [--junit FILE] [--list] [--run PROGRAM ARGUMENT…]`
//!
//! With `--run`, which is the last option, the program is started with the address as one more
//! argument, and is sent SIGTERM at the end.

use std::error::Error;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use firn_tck::{Options, Text};

#[derive(Default)]
struct Files {
    json: Option<String>,
    junit: Option<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options::new(arguments.next().ok_or("give the address to listen at")?);
    let mut files = Files::default();
    let mut function = None;
    let told = Arc::new(AtomicBool::new(false));
    while let Some(name) = arguments.next() {
        if name == "--list" {
            for (name, requirements) in firn_tck::list() {
                println!("{name} {requirements:?}");
            }
            return Ok(ExitCode::SUCCESS);
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--token" => options.token = Some(value),
            "--filter" => options.filter = Some(value),
            "--seed" => options.seed = Some(value.parse()?),
            "--commands" => options.commands = value.parse()?,
            "--timeout" => options.timeout = Duration::from_secs(value.parse()?),
            "--json" => files.json = Some(value),
            "--junit" => files.junit = Some(value),
            "--run" => {
                let child = start(&value, arguments.by_ref(), &options)?;
                let (id, told) = (child.id(), Arc::clone(&told));
                options.stop = Some(Box::new(move || {
                    told.store(true, Ordering::Relaxed);
                    terminate(id);
                }));
                function = Some(child);
            }
            _ => return Err(format!("{name} is no option").into()),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let summary = runtime.block_on(firn_tck::run(options, &mut Text(std::io::stdout())))?;
    println!("{}", summary.line());
    if let Some(path) = files.json {
        std::fs::write(path, summary.to_json())?;
    }
    if let Some(path) = files.junit {
        std::fs::write(path, summary.to_junit())?;
    }
    if let Some(mut function) = function {
        // Many take a second signal as an order to end at once.
        if !told.load(Ordering::Relaxed) {
            terminate(function.id());
        }
        println!("the function ended: {}", function.wait()?);
    }
    let good = summary.failed() == 0;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn start(
    program: &str,
    arguments: impl Iterator<Item = String>,
    options: &Options,
) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).arg(&options.address);
    if let Some(token) = &options.token {
        command.env("FIRN_TOKEN", token);
    }
    command.spawn()
}

/// What has ended already needs no signal.
fn terminate(id: u32) {
    let _ = Command::new("kill")
        .args(["-TERM", &id.to_string()])
        .status();
}

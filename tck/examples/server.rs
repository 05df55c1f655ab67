//! Judges one function that is a server: the kit without the rest of Firn.
//!
//! `cargo run -p firn-tck --example server -- FAMILY HOST:PORT FILTER SEED COMMANDS [PROGRAM ARGUMENT…]`
//!
//! The program gets `HOST` and `PORT`.

use std::error::Error;
use std::io;
use std::process::{Child, Command, ExitCode, Stdio};

use firn_tck::{Family, FunctionOptions, Proxy, Text, run_function};

struct Function {
    program: Vec<String>,
    address: String,
    child: Option<Child>,
}

impl Proxy for Function {
    fn start(&mut self) -> io::Result<()> {
        let (host, port) = self.address.rsplit_once(':').unwrap_or_default();
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]);
        command.env("HOST", host).env("PORT", port);
        self.child = Some(command.stdout(Stdio::null()).spawn()?);
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        self.kill()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        // What has gone already needs no end.
        let _ = self.kill();
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [family, address, filter, seed, commands, program @ ..] = arguments.as_slice() else {
        return Err("give FAMILY HOST:PORT FILTER SEED COMMANDS, and a program".into());
    };
    let family = Family::named(family).ok_or("cloudstate, akka-serverless or kalix")?;
    let mut options = FunctionOptions::new(family, address);
    options.filter = Some(filter.clone());
    options.seed = Some(seed.parse()?);
    options.commands = commands.parse()?;
    if !program.is_empty() {
        options.process = Some(Box::new(Function {
            program: program.to_vec(),
            address: address.clone(),
            child: None,
        }));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let summary = runtime.block_on(run_function(options, &mut Text(io::stdout())))?;
    println!("{}", summary.line());
    Ok(match summary.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

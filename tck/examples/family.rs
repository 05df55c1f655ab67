//! Judges one proxy of an older family: the kit without the rest of Firn.
//!
//! `cargo run -p firn-tck --example family -- FAMILY CLIENTS FUNCTION FILTER SEED COMMANDS PROGRAM ARGUMENT…`

use std::error::Error;
use std::io;
use std::process::{Child, Command, ExitCode};

use firn_tck::{Family, FamilyProxyOptions, Proxy, Text};

struct Process {
    program: Vec<String>,
    child: Option<Child>,
}

impl Proxy for Process {
    fn start(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.program[0]);
        self.child = Some(command.args(&self.program[1..]).spawn()?);
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
        if let Some(child) = &self.child {
            let id = child.id().to_string();
            Command::new("kill").args(["-TERM", &id]).status()?;
        }
        Ok(())
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [
        family,
        clients,
        function,
        filter,
        seed,
        commands,
        program @ ..,
    ] = arguments.as_slice()
    else {
        return Err("give FAMILY CLIENTS FUNCTION FILTER SEED COMMANDS, and a program".into());
    };
    let family = Family::named(family).ok_or("cloudstate, akka-serverless or kalix")?;
    let mut options = FamilyProxyOptions::new(family, clients, function);
    options.filter = Some(filter.clone());
    options.seed = Some(seed.parse()?);
    options.commands = commands.parse()?;
    if !program.is_empty() {
        options.proxy = Some(Box::new(Process {
            program: program.to_vec(),
            child: None,
        }));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let mut lines = Text(io::stdout());
    let done = firn_tck::run_family_proxy(options, &mut lines);
    let summary = runtime.block_on(done)?;
    println!("{}", summary.line());
    Ok(ExitCode::from(u8::from(summary.failed() > 0)))
}

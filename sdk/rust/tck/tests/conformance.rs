//! The conformance kit judges the SDK.

use std::error::Error;
use std::fs::{File, read_to_string};
use std::process::{Child, Command};

use firn_tck::{Options, Text};

const TOKEN: &str = "a token";

/// The model program. It is killed should the test end before it.
struct Model(Child);

impl Drop for Model {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_keeps_every_requirement() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let address = format!("unix:{}", folder.path().join("firn.sock").display());
    let mut options = Options::new(address.clone());
    options.token = Some(TOKEN.to_owned());
    // Models panic on purpose: what they say is shown with a failure only.
    let said = folder.path().join("model.log");
    let mut model = Model(
        Command::new(env!("CARGO_BIN_EXE_tck"))
            .arg(&address)
            .env("FIRN_TOKEN", TOKEN)
            .stderr(File::create(&said)?)
            .spawn()?,
    );
    let id = model.0.id().to_string();
    options.stop = Some(Box::new(move || {
        let stopped = Command::new("kill").args(["-TERM", &id]).status();
        assert!(stopped.is_ok_and(|status| status.success()), "SIGTERM");
    }));
    let mut lines = Text(Vec::new());
    let summary = firn_tck::run(options, &mut lines).await;
    println!("{}", String::from_utf8_lossy(&lines.0));
    println!("{}", read_to_string(&said)?);
    let summary = summary?;
    assert_eq!(summary.failed(), 0, "{}", summary.line());
    assert!(summary.passed() > 100, "{}", summary.line());
    assert!(model.0.wait()?.success(), "it ends in order (R90)");
    Ok(())
}

//! The embedded store in a real folder.

use futures_executor::block_on;
use futures_util::FutureExt;

use super::*;
use crate::suite::{self, Backend};

fn never_fatal(fatal: &Fatal) {
    panic!("{fatal}");
}

struct InFolder {
    clock: Clock,
    folder: tempfile::TempDir,
}

impl Backend for InFolder {
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>> {
        let config = Config {
            clock: self.clock.clone(),
            ..Config::default()
        };
        let store = Embedded::open(self.folder.path(), config, never_fatal).unwrap();
        let store: Box<dyn Store> = Box::new(store);
        future::ready(store).boxed()
    }

    fn keeps(&self) -> bool {
        true
    }
}

#[test]
fn embedded_conforms() {
    block_on(suite::run(|clock| InFolder {
        clock,
        folder: tempfile::tempdir().unwrap(),
    }));
}

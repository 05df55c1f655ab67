//! The copies of the files of `google/api` are those of the repository.

use std::fs;
use std::path::Path;

#[test]
fn copies_are_fresh() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["annotations.proto", "http.proto", "httpbody.proto"] {
        let file = |folder: &str| fs::read(here.join(folder).join(name)).unwrap();
        assert!(
            file("proto/google/api") == file("../../../proto/google/api"),
            "{name} is stale: copy it from proto/google/api"
        );
    }
}

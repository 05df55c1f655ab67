//! The files of `google/api`, so that contracts with HTTP rules need no copies of them.

use protox::Error;
use protox::file::{File, FileResolver};

/// The one whose message a contract may use.
pub(crate) const HTTP_BODY: &str = "google/api/httpbody.proto";

const FILES: &[(&str, &str)] = &[
    (
        "google/api/annotations.proto",
        include_str!("../proto/google/api/annotations.proto"),
    ),
    (
        "google/api/http.proto",
        include_str!("../proto/google/api/http.proto"),
    ),
    (
        HTTP_BODY,
        include_str!("../proto/google/api/httpbody.proto"),
    ),
];

/// Finds them by their names.
pub(crate) struct Api;

impl FileResolver for Api {
    fn open_file(&self, name: &str) -> Result<File, Error> {
        let (_, source) = FILES
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| Error::file_not_found(name))?;
        File::from_source(name, source)
    }
}

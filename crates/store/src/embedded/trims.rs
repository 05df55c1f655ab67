//! Trimming: through the log like everything, so that recovery repeats it.
//!
//! What is asked for is written down, and how much of it may go is decided when it is brought into the
//! rows: by then whatever was committed before is there.

use firn_model::id::Slot;

use super::Embedded;
use crate::replica::WriteError;
use crate::retention::Trim;
use crate::write::Write;

impl Embedded {
    /// Writes trims; `None` if the store cannot go on.
    pub(super) fn trim_blocking(&self, trims: Vec<Trim>) -> Option<Result<(), WriteError>> {
        if trims.is_empty() {
            return Some(Ok(()));
        }
        let mut writer = self.writer();
        if let Err(refusal) = self.check(&writer)? {
            return Some(Err(refusal));
        }
        let slots: Vec<Slot> = trims.iter().map(|trim| trim.key.slot()).collect();
        let writes = trims.into_iter().map(Write::Trim).collect();
        let last = self.write(&mut writer, writes)?;
        self.shared.acknowledged.advance(&slots, last);
        Some(Ok(()))
    }
}

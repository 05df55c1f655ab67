//! Contracts: what a function declares, read from its answer to the discovery call.
//!
//! [`read`] either gives a contract, with warnings about what is not served, or every fault at once.
//!
//! # How it works
//! 1. `declaration` brings the answers of all families into one shape and finds the exact dialect.
//! 2. `descriptors` repairs and links the function's descriptors.
//! 3. `component` turns every declared component into a component of the model with its methods:
//!    `key` finds where requests name their entity, `options` reads what the function wrote into
//!    its proto files, `policies` holds in which behaviour the families differ.
//!
//! # Not here
//! HTTP rules: the edge reads them from the linked descriptors.

mod component;
mod declaration;
pub(crate) mod descriptors;
pub(crate) mod key;
mod options;
pub(crate) mod place;
mod policies;

use std::collections::HashMap;
use std::num::NonZeroUsize;

use bytes::Bytes;
use firn_model::code::Code;
use firn_model::contract::{Contract, Finding, FunctionInfo};

use self::component::Reader;
use self::declaration::Declaration;
use self::options::Options;
use self::place::finding;
use crate::dialect::{Dialect, Family};

/// A contract, and the dialect its function speaks.
#[derive(Debug)]
pub struct Declared {
    /// What the function declares and Firn serves.
    pub contract: Contract,
    /// The exact dialect, which may be an older one than the one that was asked in.
    pub dialect: &'static Dialect,
}

/// Reads a function's answer to the discovery call of `dialect`.
///
/// # Errors
/// Every fault of the declaration, if there is one. A fault that hides all others is alone: an
/// answer that is no message, a protocol version that is not served, descriptors that do not link.
pub fn read(dialect: &'static Dialect, answer: Bytes) -> Result<Declared, Vec<Finding>> {
    let declaration = Declaration::read(dialect, answer).map_err(|fault| vec![fault])?;
    let linked = descriptors::link(&[&declaration.files], Some(declaration.dialect))?;
    let dialect = declaration.dialect_by_descriptors(&linked);
    let mut reader = Reader::new(
        dialect,
        &declaration.info,
        Options::new(&linked.pool, dialect.family),
    );
    if declaration.components.is_empty() {
        let text = "the function declares no component".to_owned();
        reader.faults.push(finding(Code::NothingDeclared, text));
    }
    for component in &declaration.components {
        reader.read(component, &linked.pool);
    }
    reader.faults.extend(shared_names(&declaration));
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    let contract = Contract::new(
        dialect.family.name(),
        declaration.info.clone(),
        linked.pool.clone(),
        reader.components,
        reader.methods,
        reader.warnings,
    );
    Ok(Declared { contract, dialect })
}

/// Components that declare the same service or would keep their data under the same name.
fn shared_names(declaration: &Declaration) -> Vec<Finding> {
    let mut faults = Vec::new();
    let mut services = HashMap::new();
    let mut storages = HashMap::new();
    for component in &declaration.components {
        let service = component.service.as_str();
        if services.insert(service, ()).is_some() {
            let text = format!("service {service} is declared by two components");
            faults.push(place::about(service, finding(Code::ServiceTwice, text)));
            continue;
        }
        if !component.has_storage(declaration.dialect) {
            continue;
        }
        if let Some(first) = storages.insert(component.storage.as_str(), service) {
            let text = format!(
                "components {first} and {service} would both keep their data under {:?}",
                component.storage
            );
            faults.push(place::about(service, finding(Code::StorageNameTwice, text)));
        }
    }
    faults
}

/// How many entity streams may be open to one process of a function, if its SDK bounds that.
///
/// The Python SDKs hold a thread for each open stream, and their other calls wait for one too; so one
/// is left free. `processors` is the number of the machine on which the function runs.
pub fn streams_max(
    dialect: &Dialect,
    info: &FunctionInfo,
    processors: NonZeroUsize,
) -> Option<usize> {
    /// The size of the thread pool in PyPI `cloudstate`.
    const CLOUDSTATE_THREADS: usize = 10;
    if !is_python(info) {
        return None;
    }
    match dialect.family {
        Family::Cloudstate => Some(CLOUDSTATE_THREADS - 1),
        Family::AkkaServerless => Some((processors.get() - 1).max(1)),
        Family::Kalix => None,
    }
}

/// Whether the function runs on a Python SDK.
fn is_python(info: &FunctionInfo) -> bool {
    [&info.runtime, &info.sdk]
        .iter()
        .any(|text| text.to_ascii_lowercase().contains("python"))
}

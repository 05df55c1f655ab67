//! Looking up files by what they hold.

use std::collections::HashSet;
use std::sync::LazyLock;

use firn_model::contract::Contract;
use prost_reflect::{DescriptorPool, FileDescriptor};

/// The descriptors of the built-in services, compiled from `proto/grpc`; a test keeps them fresh.
static BUILTIN: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!("../descriptors.bin").as_slice())
        .expect("a test reads the same bytes")
});

/// The descriptors that are searched: the contract's, then the built-in ones.
pub(super) struct Files<'c> {
    contract: Option<&'c DescriptorPool>,
}

impl<'c> Files<'c> {
    pub(super) fn new(contract: Option<&'c Contract>) -> Self {
        Self {
            contract: contract.map(|contract| &contract.pool),
        }
    }

    fn search<T>(&self, find: impl Fn(&DescriptorPool) -> Option<T>) -> Option<T> {
        self.contract.and_then(&find).or_else(|| find(&BUILTIN))
    }

    /// The file with this name, and all that it needs.
    pub(super) fn named(&self, name: &str) -> Option<Vec<Vec<u8>>> {
        self.search(|pool| pool.get_file_by_name(name))
            .map(with_dependencies)
    }

    /// The file that declares this name.
    pub(super) fn with_symbol(&self, symbol: &str) -> Option<Vec<Vec<u8>>> {
        let symbol = symbol.strip_prefix('.').unwrap_or(symbol);
        self.search(|pool| file_with(pool, symbol))
            .map(with_dependencies)
    }

    /// The file that declares this extension of a message.
    pub(super) fn with_extension(&self, message: &str, number: u32) -> Option<Vec<Vec<u8>>> {
        self.search(|pool| {
            let extension = pool.get_message_by_name(message)?.get_extension(number)?;
            Some(extension.parent_file())
        })
        .map(with_dependencies)
    }

    /// The numbers of all extensions of a message, sorted; `None` if there is no such message.
    pub(super) fn extensions(&self, message: &str) -> Option<Vec<i32>> {
        let message = self.search(|pool| pool.get_message_by_name(message))?;
        let numbers = message.extensions().map(|extension| extension.number());
        let mut numbers: Vec<i32> = numbers.filter_map(|n| i32::try_from(n).ok()).collect();
        numbers.sort_unstable();
        Some(numbers)
    }
}

/// The file that declares a message, enum, service or extension, or a part of one.
fn file_with(pool: &DescriptorPool, symbol: &str) -> Option<FileDescriptor> {
    let whole = |name: &str| {
        (pool
            .get_message_by_name(name)
            .map(|found| found.parent_file()))
        .or_else(|| pool.get_enum_by_name(name).map(|found| found.parent_file()))
        .or_else(|| {
            pool.get_service_by_name(name)
                .map(|found| found.parent_file())
        })
        .or_else(|| {
            pool.get_extension_by_name(name)
                .map(|found| found.parent_file())
        })
    };
    whole(symbol).or_else(|| {
        let (parent, name) = symbol.rsplit_once('.').unwrap_or(("", symbol));
        file_with_part(pool, parent, name)
    })
}

/// The file that declares a field, oneof, method or enum value called `name` inside `parent`.
fn file_with_part(pool: &DescriptorPool, parent: &str, name: &str) -> Option<FileDescriptor> {
    if let Some(message) = pool.get_message_by_name(parent)
        && (message.get_field_by_name(name).is_some()
            || message.oneofs().any(|oneof| oneof.name() == name))
    {
        return Some(message.parent_file());
    }
    if let Some(service) = pool.get_service_by_name(parent)
        && service.methods().any(|method| method.name() == name)
    {
        return Some(service.parent_file());
    }
    // A value belongs to the scope around its enum; some ask for it inside the enum all the same.
    let holds = |found: &prost_reflect::EnumDescriptor| {
        let around = found
            .full_name()
            .rsplit_once('.')
            .map_or("", |(around, _)| around);
        (around == parent || found.full_name() == parent) && found.get_value_by_name(name).is_some()
    };
    pool.all_enums()
        .find(holds)
        .map(|found| found.parent_file())
}

/// A file and, after it, everything that it imports, each once.
fn with_dependencies(file: FileDescriptor) -> Vec<Vec<u8>> {
    let mut known = HashSet::from([file.name().to_owned()]);
    let mut files = vec![file];
    let mut next = 0;
    while let Some(file) = files.get(next) {
        let imported = file
            .dependencies()
            .filter(|f| known.insert(f.name().to_owned()));
        let imported: Vec<_> = imported.collect();
        files.extend(imported);
        next += 1;
    }
    files.iter().map(FileDescriptor::encode_to_vec).collect()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    /// Set `FIRN_REGENERATE` to write the file anew.
    #[test]
    fn descriptors_are_those_of_the_proto_files() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
        let names = [
            "grpc/health/v1/health.proto",
            "grpc/reflection/v1/reflection.proto",
            "grpc/reflection/v1alpha/reflection.proto",
        ];
        let fresh = protox::compile(names, [root]).unwrap().encode_to_vec();
        if std::env::var_os("FIRN_REGENERATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/builtin/descriptors.bin");
            std::fs::write(path, &fresh).unwrap();
        }
        let committed = include_bytes!("../descriptors.bin").as_slice();
        assert!(
            committed == fresh,
            "stale: run this test with FIRN_REGENERATE=1"
        );
    }
}

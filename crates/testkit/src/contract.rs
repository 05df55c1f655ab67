//! Contracts from a few lines of proto.

use std::sync::Arc;

use firn_model::contract::{Component, Contract, FunctionInfo, Kind, Method};
use firn_model::id::StorageName;
use firn_model::key::{Key, KeyField, KeyKind};
use firn_model::payload::message_url;
use firn_model::policy::Policies;
use prost_reflect::DescriptorPool;
use protox::file::{File, FileResolver, GoogleFileResolver};

/// A component to declare.
pub struct Declared {
    /// Full name of its service in the proto text.
    pub service: &'static str,
    /// Its state model.
    pub kind: Kind,
    /// How it behaves.
    pub policies: Policies,
}

/// A contract of these components. Requests to entities name theirs in field 1, a string.
///
/// # Panics
/// If the text does not compile or a service is missing: the test is wrong.
pub fn contract(proto: &str, declared: Vec<Declared>) -> Contract {
    let pool = compile(proto);
    let mut components = Vec::new();
    let mut methods = Vec::new();
    for (declared, place) in declared.into_iter().zip(0..) {
        let service = pool
            .get_service_by_name(declared.service)
            .unwrap_or_else(|| panic!("no service {}", declared.service));
        let component = Arc::new(Component {
            service: declared.service.into(),
            kind: declared.kind,
            storage: StorageName::new(declared.service),
            policies: declared.policies,
            place,
        });
        methods.extend(service.methods().zip(0..).map(|(descriptor, place)| {
            Arc::new(Method {
                component: component.clone(),
                name: descriptor.name().into(),
                input_url: message_url(descriptor.input().full_name()),
                output_url: message_url(descriptor.output().full_name()),
                key: if declared.kind.is_entity() {
                    first_field()
                } else {
                    Key::None
                },
                unenforced: None,
                place,
                descriptor,
            })
        }));
        components.push(component);
    }
    Contract::new(
        "test",
        FunctionInfo::default(),
        pool,
        components,
        methods,
        Vec::new(),
    )
}

fn first_field() -> Key {
    Key::Fields(vec![KeyField {
        path: vec![1],
        name: "id".into(),
        kind: KeyKind::String,
    }])
}

/// Compiles one file named `test.proto`.
///
/// # Panics
/// If the text does not compile.
pub fn compile(proto: &str) -> DescriptorPool {
    struct One(String);
    impl FileResolver for One {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            if name == "test.proto" {
                return File::from_source(name, &self.0);
            }
            GoogleFileResolver::new().open_file(name)
        }
    }
    let mut compiler = protox::Compiler::with_file_resolver(One(proto.to_owned()));
    compiler.include_imports(true);
    compiler
        .open_file("test.proto")
        .unwrap_or_else(|error| panic!("{error:?}"));
    DescriptorPool::from_file_descriptor_set(compiler.file_descriptor_set())
        .unwrap_or_else(|error| panic!("{error}"))
}

//! Contracts from a few lines of proto.

use std::path::Path;

use bytes::Bytes;
use firn_wire::v1::message::{Component, Contract, DataType, Method, Model};
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

/// A serialized descriptor set of proto files, given by name and text, with what they import.
///
/// # Panics
/// If they do not compile.
pub fn descriptors(files: &[(&str, &str)]) -> Bytes {
    struct Texts(Vec<(String, String)>);
    impl FileResolver for Texts {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match self.0.iter().find(|(known, _)| known == name) {
                Some((_, text)) => File::from_source(name, text),
                None => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let texts = files.iter().map(|&(name, text)| (name.into(), text.into()));
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(texts.collect()));
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    resolver.add(IncludeFileResolver::new(protos));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    for (name, _) in files {
        if let Err(error) = compiler.open_file(name) {
            panic!("{error:?}");
        }
    }
    compiler.encode_file_descriptor_set().into()
}

/// A contract of these components.
pub fn contract(files: &[(&str, &str)], components: Vec<Component>) -> Contract {
    Contract {
        descriptors: descriptors(files),
        components,
    }
}

/// A component with these methods and nothing else.
pub fn component(model: Model, service: &str, methods: &[&str]) -> Component {
    let methods = methods.iter().map(|&name| Method {
        name: name.to_owned(),
        id: Vec::new(),
    });
    Component {
        service: service.to_owned(),
        model: model.into(),
        methods: methods.collect(),
        ..Component::default()
    }
}

/// An entity, named by the field `id` of its requests.
fn entity(model: Model, service: &str, methods: &[&str]) -> Component {
    Component {
        id: vec!["id".to_owned()],
        ..component(model, service, methods)
    }
}

/// An action.
pub fn action(service: &str, methods: &[&str]) -> Component {
    component(Model::Action, service, methods)
}

/// A value entity with a message as its state.
pub fn value(service: &str, methods: &[&str], state: &str) -> Component {
    Component {
        state: state.to_owned(),
        ..entity(Model::Value, service, methods)
    }
}

/// An event sourced entity with one message as event and snapshot.
pub fn event_sourced(service: &str, methods: &[&str], message: &str) -> Component {
    Component {
        events: vec![message.to_owned()],
        state: message.to_owned(),
        ..entity(Model::EventSourced, service, methods)
    }
}

/// A replicated entity.
pub fn replicated(service: &str, methods: &[&str], data: DataType) -> Component {
    Component {
        data: data.into(),
        ..entity(Model::Replicated, service, methods)
    }
}

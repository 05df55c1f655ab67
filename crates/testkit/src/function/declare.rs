//! What a scripted function declares, in the words of its dialect.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use firn_model::replicated::Consistency;
use firn_wire::dialect::{Dialect, Family};
use firn_wire::superset::component::ComponentSettings;
use firn_wire::superset::entity_settings::SpecificSettings;
use firn_wire::superset::passivation_strategy::Strategy;
use firn_wire::superset::{
    Component, Entity, EntitySettings, EntitySpec, GenericComponentSettings, PassivationStrategy,
    ReplicatedEntitySettings, ServiceInfo, Spec, TimeoutPassivationStrategy,
};
use prost::Message;
use prost_reflect::DescriptorPool;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

use super::replica::number;

/// The name of the file that holds a declaration's proto text.
pub const FILE: &str = "model.proto";

/// What a function declares.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// In which words it speaks.
    pub dialect: &'static Dialect,
    /// What it says about itself.
    pub info: ServiceInfo,
    /// Whether it fails every report of an error, after it has taken it: one SDK does.
    pub fails_reports: bool,
    /// Whether it answers 404 to what it does not know, as HTTP servers do, instead of a status of
    /// gRPC.
    pub answers_404: bool,
    /// How many streams it bears on one connection, if it has a limit.
    pub streams_max: Option<u32>,
    files: Vec<Bytes>,
    pool: DescriptorPool,
    components: Vec<Declared>,
}

/// One declared component.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    /// The full name of its service.
    pub service: String,
    /// Its type in the words of the dialect.
    pub component_type: String,
    /// The name its data is kept under; an action has none.
    pub storage: Option<String>,
    /// When it asks to leave memory.
    pub passivate_after: Option<Duration>,
    /// The headers it asks for.
    pub forward_headers: Vec<String>,
    /// How many replicas must hold its changes; Cloudstate cannot say it here.
    pub write_consistency: Option<Consistency>,
}

/// What a function says when it is asked what it declares.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A message, right or wrong.
    Message(Bytes),
    /// A gRPC status.
    Failure {
        /// Its number.
        code: i32,
        /// Its text.
        text: String,
    },
    /// Nothing, for ever.
    Never,
}

impl Declaration {
    /// A function of this dialect with a file named [`FILE`], and no component yet. The file may
    /// import the options of its family and those of `google.api`.
    ///
    /// # Panics
    /// If the text does not compile.
    pub fn new(dialect: &'static Dialect, proto: &str) -> Self {
        let (files, pool) = compile(dialect, proto);
        let version = match dialect.generation {
            // The oldest dialect knows no versions.
            "0.1" => (0, 0),
            _ => (dialect.announced.major, dialect.announced.minor),
        };
        Self {
            dialect,
            info: ServiceInfo {
                service_name: "model".to_owned(),
                protocol_major_version: version.0,
                protocol_minor_version: version.1,
                ..ServiceInfo::default()
            },
            fails_reports: false,
            answers_404: false,
            streams_max: None,
            files,
            pool,
            components: Vec::new(),
        }
    }

    /// Declares a component besides.
    pub fn component(mut self, declared: Declared) -> Self {
        self.components.push(declared);
        self
    }

    /// Declares an action besides.
    pub fn action(self, service: &str) -> Self {
        let component_type = self.dialect.action.component_type.to_owned();
        self.component(Declared {
            service: service.to_owned(),
            component_type,
            ..Declared::default()
        })
    }

    /// Declares an event sourced entity besides.
    pub fn event_sourced(self, service: &str, storage: &str) -> Self {
        let component_type = self.dialect.event_sourced.component_type.to_owned();
        self.component(Declared {
            service: service.to_owned(),
            component_type,
            storage: Some(storage.to_owned()),
            ..Declared::default()
        })
    }

    /// Declares a value entity besides.
    ///
    /// # Panics
    /// If the dialect has none.
    pub fn value(self, service: &str, storage: &str) -> Self {
        let value = self.dialect.value.expect("a dialect with value entities");
        self.component(Declared {
            service: service.to_owned(),
            component_type: value.component_type.to_owned(),
            storage: Some(storage.to_owned()),
            ..Declared::default()
        })
    }

    /// Declares a replicated entity besides.
    pub fn replicated(self, service: &str, storage: &str) -> Self {
        let component_type = self.dialect.replicated.component_type.to_owned();
        self.component(Declared {
            service: service.to_owned(),
            component_type,
            storage: Some(storage.to_owned()),
            ..Declared::default()
        })
    }

    /// Changes the component that was declared last.
    ///
    /// # Panics
    /// If there is none.
    pub fn last(mut self, change: impl FnOnce(&mut Declared)) -> Self {
        change(self.components.last_mut().expect("a component"));
        self
    }

    /// The descriptors of the proto text.
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// The answer to the discovery call.
    pub fn answer(&self) -> Answer {
        Answer::Message(self.encode(&self.files))
    }

    /// The same, with the files in the opposite order and each of them twice.
    pub fn answer_in_disorder(&self) -> Answer {
        let files: Vec<Bytes> = self
            .files
            .iter()
            .rev()
            .flat_map(|f| [f.clone(), f.clone()])
            .collect();
        Answer::Message(self.encode(&files))
    }

    fn encode(&self, files: &[Bytes]) -> Bytes {
        let proto = Bytes::from(
            Files {
                file: files.to_vec(),
            }
            .encode_to_vec(),
        );
        let service_info = Some(self.info.clone());
        let message = match self.dialect.family {
            Family::Cloudstate => EntitySpec {
                proto,
                entities: self.components.iter().map(entity).collect(),
                service_info,
            }
            .encode_to_vec(),
            Family::AkkaServerless | Family::Kalix => Spec {
                proto,
                components: self.components.iter().map(component).collect(),
                service_info,
            }
            .encode_to_vec(),
        };
        message.into()
    }
}

fn entity(declared: &Declared) -> Entity {
    Entity {
        entity_type: declared.component_type.clone(),
        service_name: declared.service.clone(),
        persistence_id: declared.storage.clone().unwrap_or_default(),
        passivation_strategy: declared.passivate_after.map(strategy),
    }
}

fn component(declared: &Declared) -> Component {
    let forward_headers = declared.forward_headers.clone();
    let settings = match &declared.storage {
        Some(storage) => ComponentSettings::Entity(EntitySettings {
            entity_type: storage.clone(),
            passivation_strategy: declared.passivate_after.map(strategy),
            forward_headers,
            specific_settings: declared.write_consistency.map(replicated),
        }),
        None => ComponentSettings::Component(GenericComponentSettings { forward_headers }),
    };
    Component {
        component_type: declared.component_type.clone(),
        service_name: declared.service.clone(),
        component_settings: Some(settings),
    }
}

fn replicated(consistency: Consistency) -> SpecificSettings {
    let write_consistency = number(consistency);
    SpecificSettings::ReplicatedEntity(ReplicatedEntitySettings { write_consistency })
}

fn strategy(after: Duration) -> PassivationStrategy {
    let timeout = i64::try_from(after.as_millis()).expect("a time below an age");
    PassivationStrategy {
        strategy: Some(Strategy::Timeout(TimeoutPassivationStrategy { timeout })),
    }
}

/// A set of file descriptors whose files stay bytes, so that no option is lost.
#[derive(Message)]
struct Files {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// The options of Akka Serverless, by which its generations are told apart.
const OPTIONS: &str = "akkaserverless/annotations.proto";

/// Those without the field that the second generation added.
fn options_of_the_first_generation(protos: &Path) -> String {
    let path = protos.join("akkaserverless").join(OPTIONS);
    let text = std::fs::read_to_string(path).expect("the option file");
    let older = text.replace("  ReplicatedEntity replicated_entity = 3;\n", "");
    assert_ne!(older, text, "the field is not there any more");
    older
}

fn compile(dialect: &Dialect, proto: &str) -> (Vec<Bytes>, DescriptorPool) {
    struct Texts(Vec<(&'static str, String)>);
    impl FileResolver for Texts {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match self.0.iter().find(|(known, _)| *known == name) {
                Some((_, text)) => File::from_source(name, text),
                None => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let folder = match (dialect.family, dialect.generation) {
        (Family::Cloudstate, "0.1") => "cloudstate01",
        (Family::Cloudstate, _) => "cloudstate",
        (Family::AkkaServerless, _) => "akkaserverless",
        (Family::Kalix, _) => "kalix",
    };
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut texts = vec![(FILE, proto.to_owned())];
    if dialect.generation == "A" {
        texts.push((OPTIONS, options_of_the_first_generation(&protos)));
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(texts));
    resolver.add(IncludeFileResolver::new(protos.join(folder)));
    resolver.add(IncludeFileResolver::new(protos));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    if let Err(error) = compiler.open_file(FILE) {
        panic!("{error:?}");
    }
    let set = Files::decode(compiler.encode_file_descriptor_set().as_slice()).expect("a set");
    (set.file, compiler.descriptor_pool())
}

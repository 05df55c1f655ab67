//! Contracts from proto text, without any family.

use std::path::Path;
use std::sync::Arc;

use firn_model::contract::{Component, Contract, FunctionInfo, Kind, Method, Unenforced};
use firn_model::id::StorageName;
use firn_model::key::Key;
use firn_model::payload::message_url;
use firn_model::policy::{
    ActionEffects, Delete, Durability, EmptyAnswer, FailedQueue, FailureMutation, Headers,
    HttpErrors, LostCommands, OpenCommands, Pipelining, Policies, Replay, ReplyType, StreamFailure,
    Texts, UnnamedFailure,
};
use firn_model::replicated::Consistency;
use firn_model::status::GrpcCode;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

/// The file that holds the text.
pub(crate) const FILE: &str = "test.proto";

/// A contract of every service in `text`, each an action. Methods whose names begin with `Guarded`
/// have an access rule.
pub(crate) fn contract(text: &str) -> Contract {
    contract_with(text, policies())
}

/// The same with other policies.
pub(crate) fn contract_with(text: &str, policies: Policies) -> Contract {
    let mut files = ChainFileResolver::new();
    files.add(Text(text.to_owned()));
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    files.add(IncludeFileResolver::new(protos));
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).include_source_info(true);
    if let Err(error) = compiler.open_file(FILE) {
        panic!("{error:?}");
    }
    let pool = compiler.descriptor_pool();
    let (mut components, mut methods) = (Vec::new(), Vec::new());
    for service in pool.get_file_by_name(FILE).unwrap().services() {
        let name: Arc<str> = service.full_name().into();
        let component = Arc::new(Component {
            place: 0,
            service: Arc::clone(&name),
            kind: Kind::Action,
            storage: StorageName::new(name),
            policies: policies.clone(),
        });
        methods.extend(service.methods().map(|descriptor| {
            let guarded = descriptor.name().starts_with("Guarded");
            Arc::new(Method {
                component: Arc::clone(&component),
                name: descriptor.name().into(),
                input_url: message_url(descriptor.input().full_name()),
                output_url: message_url(descriptor.output().full_name()),
                descriptor,
                key: Key::None,
                place: 0,
                unenforced: guarded.then_some(Unenforced::Acl),
            })
        }));
        components.push(component);
    }
    let info = FunctionInfo::default();
    Contract::new("test", info, pool, components, methods, Vec::new())
}

/// Policies under which all headers are seen and a failure keeps its HTTP status.
pub(crate) fn policies() -> Policies {
    Policies {
        failure_mutation: FailureMutation::Drop,
        stream_failure: StreamFailure::FailsCommand,
        unnamed_failure: UnnamedFailure::EndsInstance,
        failed_queue: FailedQueue::Keep,
        delete: Delete::Plain,
        passivate_after: None,
        headers: Headers::All,
        pipelining: Pipelining::Off,
        lost_commands: LostCommands::Fail,
        action_effects: ActionEffects::AtMostOnce,
        replay: Replay::FromSnapshot,
        snapshot_every: None,
        empty_answer: EmptyAnswer::Failure,
        reply_type: ReplyType::Refuse,
        texts: Texts {
            code: GrpcCode::Unknown,
            failure: "",
            reply: "",
            message: "",
            termination: "",
            queued: "",
            pass_on: false,
        },
        http_errors: HttpErrors::PlainText,
        durability: Durability::Commit,
        open_commands: OpenCommands::One,
        write_consistency: Consistency::Local,
    }
}

struct Text(String);

impl FileResolver for Text {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            FILE => File::from_source(name, &self.0),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

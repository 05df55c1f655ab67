//! Remedies: what a person is to do about a finding, in one line. The pages in `docs/errors` say more.

use firn_model::code::Code;

/// The remedy for a code.
pub(crate) fn remedy(code: Code) -> &'static str {
    match code {
        Code::DescriptorsUnlinkable => {
            "send a descriptor set with every imported file: protoc --include_imports"
        }
        Code::ServiceUndeclared => "name a service of the descriptors, with its package",
        Code::ComponentTypeUnknown => "use a newer Firn, or another model",
        Code::KeyMissing => "name in `id` a field that every request of the entity has",
        Code::StreamingEntity => "make the method unary, or move it to an action",
        Code::HttpRuleIllegal | Code::HttpRuleTwice => "correct the google.api.http option",
        Code::StorageNameTwice => "give one of the components another `storage`",
        Code::ProtocolVersion => "use an SDK and a Firn of the same generation",
        Code::NothingDeclared => "add a component to the function before it runs",
        Code::ServiceTwice => "declare each service once",
        Code::NotServedYet => "use a newer Firn",
        Code::KeyType => "use a text, an integer, a bool or an enum as id",
        Code::MethodUndeclared => "list each method of the service once, by its name",
        Code::OptionMisplaced => "set the options that the component's model has, and no others",
        Code::MessageUndeclared => "name a message of the descriptors, with its package",
        Code::ContractTaken => {
            "stop the function that declares it, or deploy the same contract everywhere"
        }
        Code::RetentionUnfit => "correct [retention] in the settings of Firn",
        Code::TokenRefused => "set FIRN_TOKEN to the value of Firn's --function-token",
        Code::DecisionUnexpected | Code::DecisionOutOfOrder | Code::FrameIllegal => {
            "this is a fault of the SDK: update it, or report it"
        }
        Code::DecisionVersion => {
            "this is a fault of the SDK, or two writers share its state: update it, or report it"
        }
        Code::MutationUnfit => {
            "declare the type among `state` or `events`, or change the entity as its model does"
        }
        Code::NoBroker => "remove the message, or wait for a Firn with brokers",
        Code::CreditExceeded => "this is a fault of the SDK: it must wait for credit",
        Code::CallsExceeded => "await calls before making more, or ask for less at once",
        Code::FrameTooLarge => "make the state or reply smaller, or raise --max-message-bytes",
        Code::TargetUnknown => "call a service that is connected, by its full name",
        _ => "see the page of the code in docs/errors",
    }
}

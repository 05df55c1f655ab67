//! The kit judged: a right function passes all checks, and each mistake is caught by its check.

mod entity;
mod function;
mod quirk;
mod steps;

use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use quirk::Quirk;
use tokio::sync::Notify;

use crate::{Options, Outcome, Output, Summary, Verdict};

/// Prints what fails.
struct Failures;

impl Output for Failures {
    fn ended(&mut self, outcome: &Outcome) {
        if matches!(outcome.verdict, Verdict::Failed { .. }) {
            println!("{}", outcome.line());
        }
    }
}

/// Runs the function on a thread of its own, and the kit against it.
fn judge(quirk: Quirk, filter: Option<&str>, timeout: Duration) -> Summary {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("port").to_string_lossy().into_owned();
    let address = format!("unix:{path}");
    let (sender, goodbyes) = mpsc::channel::<tokio::sync::mpsc::UnboundedSender<()>>();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime.expect("a runtime"), async move {
            let (stop, mut stops) = tokio::sync::mpsc::unbounded_channel();
            sender.send(stop).expect("the test waits");
            let goodbye = Rc::new(Notify::new());
            let served = function::serve(path, quirk, Rc::clone(&goodbye));
            let stopping = async move {
                while stops.recv().await.is_some() {
                    goodbye.notify_one();
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = ended => {}
                ((), ()) = async { tokio::join!(served, stopping) } => {}
            }
        });
    });
    let stop = goodbyes.recv().expect("the function runs");
    let mut options = Options::new(address);
    options.token = Some("secret".into());
    options.filter = filter.map(str::to_owned);
    options.timeout = timeout;
    options.seed = Some(7);
    options.commands = 3_000;
    options.stop = Some(Box::new(move || stop.send(()).expect("the function runs")));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let summary = runtime
        .block_on(crate::run(options, &mut Failures))
        .expect("an address");
    drop(end);
    thread.join().expect("the function did not panic");
    summary
}

#[test]
fn right_function_passes_all_checks() {
    let summary = judge(Quirk::None, None, Duration::from_secs(20));
    assert_eq!(summary.failed(), 0, "{}", summary.line());
    assert_eq!(summary.skipped(), 0, "{}", summary.line());
    assert!(summary.passed() > 80, "{}", summary.line());
}

#[test]
fn function_that_grants_little_passes_too() {
    let summary = judge(Quirk::FewCommands, None, Duration::from_secs(20));
    assert_eq!(summary.failed(), 0, "{}", summary.line());
}

/// Mistakes, each with a check that must find it.
const CAUGHT: &[(Quirk, &str)] = &[
    (
        Quirk::CreditBeforeHello,
        "beginning/hello_comes_first_and_alone",
    ),
    (
        Quirk::HeadersAwaited,
        "beginning/hello_comes_first_and_alone",
    ),
    (
        Quirk::ComponentMissing,
        "beginning/contract_declares_the_model_services",
    ),
    (
        Quirk::SnapshotOption,
        "beginning/contract_declares_the_model_services",
    ),
    (
        Quirk::DescriptorsCut,
        "beginning/descriptors_link_and_are_those_of_the_model",
    ),
    (Quirk::TokenForgotten, "beginning/token_is_sent_each_time"),
    (
        Quirk::UnknownFrameEnds,
        "beginning/unknown_fields_and_frames_are_ignored",
    ),
    (
        Quirk::GivesUpRefused,
        "beginning/refused_function_dials_again",
    ),
    (Quirk::PausesStay, "beginning/pauses_between_dials_grow"),
    (
        Quirk::StateRemembered,
        "beginning/nothing_of_the_old_connection_counts",
    ),
    (
        Quirk::DetailsDropped,
        "action/failure_reaches_with_code_text_and_details",
    ),
    (
        Quirk::CrashForgotten,
        "action/mistake_in_the_code_is_a_failure",
    ),
    (Quirk::HeadersLost, "action/headers_come_and_go"),
    (Quirk::EffectsReversed, "action/effects_come_in_order"),
    (Quirk::NoMessageCredit, "action/messages_get_credit"),
    (Quirk::ReplyCreditIgnored, "action/replies_wait_for_credit"),
    (
        Quirk::CancelIgnored,
        "action/cancelled_handlers_stop_and_still_answer",
    ),
    (
        Quirk::OneAtATime,
        "action/commands_do_not_wait_for_each_other",
    ),
    (Quirk::VersionStays, "value/state_is_set_read_and_deleted"),
    (Quirk::StateRemembered, "value/opening_brings_the_state"),
    (
        Quirk::DecisionsReversed,
        "value/pipelined_commands_follow_each_other",
    ),
    (Quirk::FailedStateKept, "value/failure_changes_nothing"),
    (
        Quirk::FailedStateKept,
        "value/failure_between_pipelined_commands",
    ),
    (
        Quirk::ContractVaries,
        "beginning/contract_is_the_same_each_time",
    ),
    (
        Quirk::DecisionAfterClosed,
        "closing/opened_again_before_it_is_closed",
    ),
    (
        Quirk::DecisionAfterClosed,
        "closing/closed_while_a_large_reply_is_under_way",
    ),
    (
        Quirk::LateChangesAnswered,
        "flow/frames_about_what_is_over_are_ignored",
    ),
    (
        Quirk::ChangesIgnored,
        "workload/random_commands_over_all_models",
    ),
    (Quirk::TimersForgotten, "value/timers_are_set_and_cancelled"),
    (
        Quirk::OneAtATime,
        "value/entities_do_not_wait_for_each_other",
    ),
    (Quirk::VersionStays, "events/events_are_folded_and_numbered"),
    (
        Quirk::SnapshotMissing,
        "events/snapshot_comes_when_it_is_due",
    ),
    (
        Quirk::SnapshotEachTime,
        "events/snapshot_comes_when_it_is_due",
    ),
    (
        Quirk::StateRemembered,
        "closing/closed_while_its_state_was_not_taken",
    ),
    (
        Quirk::DecisionsReversed,
        "events/pipelined_commands_follow_each_other",
    ),
    (
        Quirk::FailedStateKept,
        "events/failure_after_events_leaves_none",
    ),
    (
        Quirk::FailedStateKept,
        "events/failure_between_pipelined_commands",
    ),
    (
        Quirk::DeletedVersionGoesOn,
        "events/delete_begins_at_nothing",
    ),
    (
        Quirk::EventsSkipped,
        "events/event_that_cannot_be_folded_is_a_failure",
    ),
    (Quirk::TagsLost, "actor/state_and_tags_are_set_and_deleted"),
    (Quirk::FailedStateKept, "actor/failure_changes_nothing"),
    (Quirk::WholeValueAsDelta, "data/counter_counts"),
    (
        Quirk::WholeValueAsDelta,
        "data/set_takes_and_loses_elements",
    ),
    (
        Quirk::WholeValueAsDelta,
        "data/map_holds_values_of_all_types",
    ),
    (Quirk::ChangesIgnored, "data/changes_by_others_are_applied"),
    (
        Quirk::ChangesIgnored,
        "data/change_between_command_and_decision_counts",
    ),
    (Quirk::DataOneAtATime, "data/several_commands_are_open"),
    (Quirk::DataFailureKept, "data/failure_changes_nothing"),
    (
        Quirk::ConsistencyForgotten,
        "data/consistency_goes_with_the_update",
    ),
    (
        Quirk::WatchSilent,
        "watch/value_comes_at_once_and_after_changes",
    ),
    (Quirk::ReplyCreditIgnored, "watch/replies_wait_for_credit"),
    (Quirk::CancelIgnored, "watch/cancelled_watch_ends"),
    (
        Quirk::WatchOutlivesDelete,
        "watch/deleted_entity_ends_the_watch",
    ),
    (
        Quirk::CallOfNobody,
        "calls/handlers_of_all_models_call_and_use_what_comes",
    ),
    (Quirk::CallCreditIgnored, "calls/calls_wait_for_credit"),
    (
        Quirk::DecisionsReversed,
        "calls/entity_that_waits_for_a_call_keeps_order",
    ),
    (Quirk::NoChunks, "chunks/large_replies_come_in_pieces"),
    (Quirk::ChunksTooLarge, "chunks/frames_around_the_limit"),
    (Quirk::NoSubject, "chunks/large_replies_come_in_pieces"),
    (Quirk::ChunkLost, "chunks/large_requests_are_put_together"),
    (Quirk::ChunkLost, "chunks/transfers_may_take_turns"),
    (
        Quirk::SmallOvertake,
        "chunks/nothing_of_an_entity_overtakes_its_large_reply",
    ),
    (
        Quirk::FramesTooLarge,
        "chunks/frame_above_the_largest_is_a_failure",
    ),
    (
        Quirk::BatchesTooLarge,
        "chunks/large_replies_come_in_pieces",
    ),
    (
        Quirk::DecisionsReversed,
        "flow/frames_of_a_batch_count_in_order",
    ),
    (
        Quirk::OneAtATime,
        "flow/as_many_commands_as_were_granted_run",
    ),
    (Quirk::NoClosed, "closing/idle_incarnation_is_forgotten"),
    (
        Quirk::StateRemembered,
        "closing/idle_incarnation_is_forgotten",
    ),
    (
        Quirk::DecisionAfterClosed,
        "closing/decisions_and_close_may_cross",
    ),
    (
        Quirk::DecisionAfterClosed,
        "closing/handler_that_waits_for_a_call",
    ),
    (
        Quirk::DeadAnswered,
        "closing/command_of_a_dead_incarnation_is_ignored",
    ),
    (Quirk::HoldsAll, "closing/function_bounds_what_it_holds"),
    (
        Quirk::LetsGoOfNewest,
        "closing/function_bounds_what_it_holds",
    ),
    (Quirk::LetsGoOfBusy, "closing/busy_entities_are_not_let_go"),
    (
        Quirk::NoGoodbye,
        "ending/function_says_goodbye_and_finishes",
    ),
    (
        Quirk::FailedStateKept,
        "workload/random_commands_over_all_models",
    ),
    (
        Quirk::SnapshotMissing,
        "workload/random_commands_over_all_models",
    ),
    (
        Quirk::DecisionsReversed,
        "workload/random_commands_over_all_models",
    ),
];

/// How many functions are judged at once: most of the time they wait.
const WORKERS: usize = 6;

#[test]
fn each_mistake_is_caught_by_its_check() {
    let cases = std::sync::Mutex::new(CAUGHT.iter());
    let next = || cases.lock().expect("no worker panicked").next();
    let missed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((quirk, check)) = next() {
                    let summary = judge(*quirk, Some(check), Duration::from_secs(3));
                    if summary.failed() != 1 || summary.outcomes.len() != 1 {
                        let line = format!("{quirk:?} by {check}: {}", summary.line());
                        missed.lock().expect("no worker panicked").push(line);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no worker panicked");
    assert!(missed.is_empty(), "{missed:#?}");
}

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
    (Quirk::EndAnswered, "action/both_directions_are_streamed"),
    (
        Quirk::LateCancelsAnswered,
        "action/cancel_of_what_is_over_is_nothing",
    ),
    (
        Quirk::EndAnswered,
        "action/effects_come_with_streamed_replies",
    ),
    (
        Quirk::ForwardsElsewhere,
        "action/forward_names_method_and_request",
    ),
    (Quirk::EffectsReversed, "action/publishes"),
    (Quirk::DetailsDropped, "action/streamed_call_fails"),
    (Quirk::EndAnswered, "action/streamed_replies_come_in_order"),
    (
        Quirk::TurnForgotten,
        "action/streamed_requests_have_one_reply",
    ),
    (Quirk::PadShort, "action/unary_method_replies"),
    (Quirk::OpeningIgnored, "actor/opening_brings_state_and_tags"),
    (
        Quirk::DecisionsReversed,
        "actor/pipelined_commands_follow_each_other",
    ),
    (
        Quirk::GivesUpDamaged,
        "beginning/damaged_batch_does_not_end_the_function",
    ),
    (
        Quirk::HeadersAwaited,
        "beginning/early_response_headers_are_fine",
    ),
    (Quirk::GivesUpEnded, "beginning/ended_call_is_dialed_again"),
    (
        Quirk::GivesUpLost,
        "beginning/lost_connection_is_dialed_again",
    ),
    (
        Quirk::MinorOneOnly,
        "beginning/lower_minor_version_is_spoken",
    ),
    (Quirk::NoticesEnd, "beginning/notices_change_nothing"),
    (Quirk::CallsMixedUp, "calls/answers_come_in_any_order"),
    (
        Quirk::LateResultsAnswered,
        "calls/cancelled_caller_with_an_open_call",
    ),
    (
        Quirk::CallCreditForgotten,
        "calls/credit_lets_more_calls_open",
    ),
    (Quirk::CallFailureLost, "calls/failures_of_calls_come_whole"),
    (Quirk::NoSubject, "chunks/large_calls_and_streamed_replies"),
    (
        Quirk::ChunkLost,
        "chunks/large_state_while_small_commands_go_on",
    ),
    (
        Quirk::DeadAnswered,
        "closing/let_go_while_commands_are_on_their_way",
    ),
    (
        Quirk::NoClosed,
        "closing/running_handler_does_not_keep_it_open",
    ),
    (Quirk::WholeValueAsDelta, "data/counter_map_counts"),
    (Quirk::UpdatesForgotten, "data/entity_is_deleted"),
    (Quirk::UpdatesForgotten, "data/flag_is_turned_on"),
    (Quirk::WholeValueAsDelta, "data/grow_counter_grows"),
    (Quirk::WholeValueAsDelta, "data/grow_set_takes_elements"),
    (
        Quirk::WholeValueAsDelta,
        "data/multi_map_takes_and_loses_values",
    ),
    (Quirk::OpeningIgnored, "data/opening_brings_the_value"),
    (
        Quirk::ClocksForgotten,
        "data/register_is_written_with_each_clock",
    ),
    (Quirk::ClocksForgotten, "data/register_map_is_written"),
    (
        Quirk::UpdatesForgotten,
        "data/steps_of_a_command_are_one_update",
    ),
    (Quirk::UpdatesForgotten, "data/vote_is_cast"),
    (
        Quirk::GoodbyeEnds,
        "ending/what_is_open_is_finished_when_firn_stops",
    ),
    (
        Quirk::ForwardsElsewhere,
        "events/forward_and_effects_go_with_events",
    ),
    (
        Quirk::OpeningIgnored,
        "events/opening_brings_snapshot_and_events",
    ),
    (Quirk::CommandsLeak, "flow/decided_commands_make_room"),
    (Quirk::VersionStays, "flow/frames_alone_are_as_good"),
    (
        Quirk::ReadsNoMore,
        "flow/function_reads_while_handlers_hang",
    ),
    (
        Quirk::ForwardsElsewhere,
        "value/forward_and_effects_go_with_the_state",
    ),
    (
        Quirk::EventsSkipped,
        "value/state_that_cannot_be_read_is_a_failure",
    ),
    (Quirk::NoClosed, "watch/closed_incarnation_ends_the_watch"),
    (Quirk::WatchSilent, "watch/several_watch_beside_commands"),
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
        Quirk::ClosedOvertakes,
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

#[test]
fn each_check_has_a_mistake_that_it_catches() {
    let has = |name: &str| CAUGHT.iter().any(|(_, check)| *check == name);
    let without: Vec<_> = crate::list()
        .into_iter()
        .filter(|(name, _)| !has(name))
        .collect();
    assert!(without.is_empty(), "{without:#?}");
}

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

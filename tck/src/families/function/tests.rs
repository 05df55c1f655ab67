//! The kit judged: a right function passes all checks, and each mistake is caught by its check.

mod call;
mod entity;
mod quirk;
mod server;

use std::io;
use std::time::Duration;

use quirk::Quirk;
use tempfile::TempDir;

use super::checks::{self, Needs};
use super::run::{FunctionOptions, run_function};
use crate::families::dialect::Dialect;
use crate::{Outcome, Output, Proxy, Summary, Verdict};

/// Prints what fails.
struct Failures;

impl Output for Failures {
    fn ended(&mut self, outcome: &Outcome) {
        if matches!(outcome.verdict, Verdict::Failed { .. }) {
            println!("{}", outcome.line());
        }
    }
}

/// A function on a thread of its own.
struct Function {
    folder: TempDir,
    dialect: Dialect,
    quirk: Quirk,
    running: Option<(
        tokio::sync::oneshot::Sender<()>,
        std::thread::JoinHandle<()>,
    )>,
}

impl Function {
    fn new(dialect: Dialect, quirk: Quirk) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            dialect,
            quirk,
            running: None,
        }
    }

    fn path(&self) -> String {
        self.folder
            .path()
            .join("port")
            .to_string_lossy()
            .into_owned()
    }
}

impl Proxy for Function {
    fn start(&mut self) -> io::Result<()> {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (path, dialect, quirk) = (self.path(), self.dialect, self.quirk);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), async move {
                tokio::select! {
                    _ = ended => {}
                    () = server::serve(&path, dialect, quirk) => {}
                }
            });
        });
        self.running = Some((end, thread));
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            thread.join().expect("the function did not panic");
        }
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        self.kill()
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            // What it says of itself is said where it is looked at.
            let _ = thread.join();
        }
    }
}

fn judge(dialect: Dialect, quirk: Quirk, filter: Option<&str>, timeout: Duration) -> Summary {
    let function = Function::new(dialect, quirk);
    let address = format!("unix:{}", function.path());
    let mut options = FunctionOptions::new(dialect.family(), address);
    options.filter = filter.map(str::to_owned);
    options.timeout = timeout;
    options.seed = Some(7);
    options.commands = 3_000;
    options.process = Some(Box::new(function));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut failures = Failures;
    let judged = run_function(options, &mut failures);
    runtime
        .expect("a runtime")
        .block_on(judged)
        .expect("it starts")
}

fn passes(dialect: Dialect) {
    let summary = judge(dialect, Quirk::None, None, Duration::from_secs(20));
    assert_eq!(summary.failed(), 0, "{dialect:?}: {}", summary.line());
    for check in checks::of(dialect.family()) {
        let skipped = check.needs.missing(dialect, true).is_some();
        let outcome = summary.outcomes.iter().find(|one| one.name == check.name);
        let outcome = outcome.expect("every check has an outcome");
        assert_eq!(
            matches!(outcome.verdict, Verdict::Skipped(_)),
            skipped,
            "{}",
            check.name
        );
    }
    assert!(summary.passed() > 60, "{dialect:?}: {}", summary.line());
}

#[test]
fn right_function_of_cloudstate_01_passes() {
    passes(Dialect::Cloudstate01);
}

#[test]
fn right_function_of_cloudstate_02_passes() {
    passes(Dialect::Cloudstate02);
}

#[test]
fn right_functions_of_akka_serverless_pass() {
    passes(Dialect::AkkaServerlessA);
    passes(Dialect::AkkaServerlessB);
}

#[test]
fn right_function_of_kalix_passes() {
    passes(Dialect::Kalix);
}

/// The mistake that a check must find.
fn caught_by(name: &str) -> Quirk {
    let (group, what) = name.split_once('/').expect("names have a group");
    match (group, what) {
        ("discovery", "version_is_one_of_the_family") => Quirk::OtherVersion,
        ("discovery", "descriptors_hold_the_services") => Quirk::ServiceMissing,
        ("discovery", "components_are_declared") => Quirk::OtherStorage,
        ("discovery", "answer_is_the_same_again") => Quirk::OtherEachTime,
        ("discovery", "unknown_fields_are_ignored") => Quirk::RefusesUnknownFields,
        ("discovery", "reports_of_errors_do_no_harm") => Quirk::ReportsChangeIt,
        ("discovery", _) => Quirk::NoHealth,
        ("workload", _) => Quirk::OddReply,
        ("restart", _) => Quirk::StateIgnored,
        ("action", "unary_method_replies") => Quirk::PadShort,
        ("action", "streamed_requests_have_one_reply") => Quirk::CollectFirst,
        ("action", "streamed_replies_come_in_order") => Quirk::SpreadShort,
        ("action", "both_directions_are_streamed") => Quirk::ConversesLate,
        ("action", "failure_ends_streamed_requests") => Quirk::OtherFailureText,
        ("action", name) if name.starts_with("failure_ends") => Quirk::GoesOnAfterFailure,
        ("action", name) if name.starts_with("broken_handler") => Quirk::CrashReplies,
        ("action", "effects_come_with_streamed_replies") => Quirk::LateEffectsLost,
        ("action", "calls_do_not_wait_for_each_other") => Quirk::OneAtATime,
        ("action", "cancelled_call_disturbs_no_other") => Quirk::CancelStops,
        ("action", "rejected_call_has_its_text") => Quirk::OtherFailureText,
        ("value", "begins_without_a_state") => Quirk::ChangeForgotten,
        ("value", "begins_with_its_state") => Quirk::StateIgnored,
        ("value", "update_has_the_whole_state") => Quirk::ChangeForgotten,
        ("value", "look_changes_nothing") => Quirk::LookUpdates,
        ("value", "delete_leaves_nothing") => Quirk::DeleteKeeps,
        ("value", "other_service_has_its_own_state") => Quirk::StateShared,
        ("events", "begins_without_events") => Quirk::ChangeForgotten,
        ("events", "are_in_order") => Quirk::EventsReversed,
        ("events", "are_replayed") => Quirk::StateIgnored,
        ("events", "snapshot_comes_with_every_fifth") => Quirk::NoSnapshots,
        ("events", "snapshot_holds_all_events_of_its_reply") => Quirk::EarlySnapshot,
        ("events", "snapshot_and_later_events_are_replayed") => Quirk::LaterEventsLost,
        ("events", "requested_snapshot_is_the_state") => Quirk::StaleSnapshot,
        ("data", "look_changes_nothing") => Quirk::LookCreates,
        ("data", "delete_is_a_delete") => Quirk::DeleteForgotten,
        ("data", "delete_from_elsewhere_ends_it") => Quirk::DeleteBreaks,
        ("data", "several_commands_are_open") => Quirk::SecondLost,
        ("data", "consistency_goes_with_the_change") => Quirk::ConsistencyDropped,
        ("data", "counter_map_has_a_key_at_zero") => Quirk::ChangeForgotten,
        ("data", "clock_goes_with_the_write") => Quirk::ClocksDropped,
        ("data", name) if name.ends_with("_begins_with_its_value") => Quirk::StateIgnored,
        ("data", "vote_changes_elsewhere") => Quirk::ChangeForgotten,
        ("data", name) if name.ends_with("_changes_elsewhere") => Quirk::ElsewhereIgnored,
        ("data", "vote_does_many_steps_at_once" | "flag_does_many_steps_at_once") => {
            Quirk::ChangeForgotten
        }
        ("data", name) if name.ends_with("_many_steps_at_once") => Quirk::FirstStepOnly,
        ("data", name) if name.ends_with("_changes") => Quirk::ChangeForgotten,
        ("watch", "is_accepted_with_the_value") => Quirk::NotAccepted,
        ("watch", "shows_changes_of_commands") => Quirk::CommandsUnshown,
        ("watch", "shows_changes_from_elsewhere") => Quirk::ElsewhereUnshown,
        ("watch", "is_one_of_several") => Quirk::FirstWatchOnly,
        ("watch", "ends_by_itself") => Quirk::WatchNeverEnds,
        ("watch", "is_rejected") => Quirk::RejectedWatches,
        ("watch", "is_cancelled") => Quirk::GoesOnCancelled,
        ("watch", "leaves_its_last_will") => Quirk::WillForgotten,
        (_, "rejected_command_leaves_nothing") => Quirk::FailureKeeps,
        (_, "nothing_comes_before_a_command") => Quirk::SpeaksFirst,
        (_, "stream_ends_with_the_proxy") => Quirk::EndsBroken,
        (_, "open_command_is_answered_before_the_end") => Quirk::EndLosesOpen,
        (_, "many_streams_are_open") => Quirk::StateShared,
        (_, "unknown_method_fails") => Quirk::UnknownAnswered,
        (_, "broken_handler_fails_its_command") => Quirk::CrashReplies,
        (_, "command_before_the_beginning_fails") => Quirk::HeadlessAnswered,
        (_, "second_beginning_fails") => Quirk::SecondBeginningTaken,
        (_, "unknown_service_fails") => Quirk::AnyService,
        (_, "forward_names_method_and_request") => Quirk::ForwardsElsewhere,
        (_, "effects_come_in_order") => Quirk::EffectsReversed,
        (_, "headers_come_and_go") => Quirk::HeadersLost,
        (_, "takes_and_gives_megabytes") => Quirk::PadShort,
        _ => panic!("no mistake for {name}"),
    }
}

/// A check that no mistake fails is worth nothing.
#[test]
fn mistakes_are_caught() {
    let mut wrong = Vec::new();
    for check in checks::all() {
        let mut dialects = [Dialect::Kalix, Dialect::Cloudstate02].into_iter();
        let dialect = dialects.find(|one| check.needs.missing(*one, true).is_none());
        let dialect = dialect.expect("each check is for one of them");
        let quirk = caught_by(check.name);
        let summary = judge(dialect, quirk, Some(check.name), Duration::from_millis(800));
        let mut outcomes = summary.outcomes.iter();
        let outcome = outcomes.find(|one| one.name == check.name);
        if !outcome.is_some_and(|one| matches!(one.verdict, Verdict::Failed { .. })) {
            wrong.push((check.name, quirk));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One that does not end its streams is not waited for where that is not what is checked.
#[test]
fn function_that_never_ends_a_stream_fails_where_it_matters() {
    let summary = judge(
        Dialect::Cloudstate01,
        Quirk::NeverEnds,
        Some("data/"),
        Duration::from_secs(3),
    );
    let failed = summary.outcomes.iter().filter_map(|one| match one.verdict {
        Verdict::Failed { .. } => Some(one.name),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert_eq!(
        failed,
        [
            "data/delete_from_elsewhere_ends_it",
            "data/stream_ends_with_the_proxy",
        ]
    );
}

#[test]
fn names_are_unique_and_every_check_has_a_requirement() {
    let mut names: Vec<_> = checks::all().iter().map(|check| check.name).collect();
    assert!(
        checks::all()
            .iter()
            .all(|check| !check.requirements.is_empty())
    );
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert_eq!(Needs::Process.missing(Dialect::Kalix, true), None);
    assert!(Needs::Process.missing(Dialect::Kalix, false).is_some());
}

/// The requirements are those of the page.
#[test]
fn requirements_are_written_down() {
    let page = include_str!("../../../families.md");
    for check in checks::all() {
        for requirement in check.requirements {
            let line = format!("- **{requirement}** ");
            assert!(page.contains(&line), "{}: {requirement}", check.name);
        }
    }
}

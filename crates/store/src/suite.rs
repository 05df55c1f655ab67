//! The conformance suite: what every backend must do, in the order of [`Store`]'s promises.
//!
//! A backend's tests call [`run`] with something that makes a fresh [`Backend`] for every case. Each
//! case writes, looks, opens the store again where that is possible, and looks once more.

pub mod contents;
mod deletes;
mod effects;
mod entities;
mod replicas;
mod replies;
mod retention;
mod slots;
mod subject;
mod tails;
mod timers;

use futures_util::future::BoxFuture;

use crate::Store;
use crate::clock::Clock;
use subject::Subject;

/// A backend under test.
pub trait Backend {
    /// Opens the store; again and again with the same contents, the last one having been dropped.
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>>;

    /// Whether the contents outlive the store.
    fn keeps(&self) -> bool;
}

/// Runs every case, each on a backend of its own that uses the given clock.
///
/// # Panics
/// If the backend breaks a promise.
pub async fn run<B: Backend + 'static>(fresh: impl Fn(Clock) -> B) {
    let subject = || Subject::open(|clock| Box::new(fresh(clock)));
    slots::sequences_are_contiguous(subject().await).await;
    slots::refused_slots_leave_others_alone(subject().await).await;
    slots::broken_commits_are_refused(subject().await).await;
    slots::many_slots_land_in_one_batch(subject().await).await;
    entities::values_are_the_newest(subject().await).await;
    entities::tags_are_those_of_the_state(subject().await).await;
    entities::events_replay_in_order(subject().await).await;
    entities::snapshots_shorten_the_replay(subject().await).await;
    deletes::tombstones_stay_until_cleaned(subject().await).await;
    deletes::cleaned_entities_begin_again(subject().await).await;
    deletes::deleted_events_leave_nothing(subject().await).await;
    deletes::deletes_keep_reply_records(subject().await).await;
    deletes::tombstones_are_found_by_the_end_of_their_grace(subject().await).await;
    deletes::large_generations_are_cleaned_in_parts(subject().await).await;
    tails::tails_show_every_change_once(subject().await).await;
    tails::tails_show_marks_without_events(subject().await).await;
    tails::tails_have_no_gap_while_others_write(subject().await).await;
    retention::trimmed_events_are_gone_and_the_rest_loads(subject().await).await;
    retention::trims_leave_what_loading_needs(subject().await).await;
    retention::trims_remove_a_part_at_a_time(subject().await).await;
    retention::tails_show_what_was_not_trimmed(subject().await).await;
    retention::trimmed_entities_begin_again(subject().await).await;
    retention::trims_and_commits_do_not_disturb_each_other(subject().await).await;
    retention::covered_events_are_found_by_what_is_kept(subject().await).await;
    retention::entities_are_found_by_their_last_change(subject().await).await;
    retention::storage_names_are_told(subject().await).await;
    effects::outbox_holds_what_is_not_delivered(subject().await).await;
    timers::timers_are_set_replaced_and_cancelled(subject().await).await;
    timers::a_timer_fires_in_one_commit(subject().await).await;
    timers::timers_are_found_in_the_order_of_their_times(subject().await).await;
    timers::timers_outlive_their_entity(subject().await).await;
    timers::odd_names_of_timers_keep_apart(subject().await).await;
    timers::refused_timers_leave_no_trace(subject().await).await;
    effects::receipts_stay_until_trimmed(subject().await).await;
    replies::reply_records_expire(subject().await).await;
    replies::reply_records_hold_any_answer(subject().await).await;
    entities::lists_page_through_the_living(subject().await).await;
    entities::large_states_come_back(subject().await).await;
    entities::odd_ids_keep_apart(subject().await).await;
    replicas::runs_of_a_node_never_repeat(subject().await).await;
    replicas::a_new_store_is_a_new_node(subject().await, subject().await).await;
    replicas::replicas_are_the_newest(subject().await).await;
    replicas::each_node_has_replicas_of_its_own(subject().await).await;
    replicas::deleted_replicas_are_shown_to_nodes_only(subject().await).await;
    replicas::lists_page_through_replicas_and_entities(subject().await).await;
    replicas::receipts_of_replicas_are_found(subject().await).await;
    replicas::large_replicas_come_back(subject().await).await;
    replicas::odd_ids_of_replicas_keep_apart(subject().await).await;
    replicas::replicas_are_saved_while_others_commit(subject().await).await;
}

//! The leaderboard: every node that is asked has a replica of the points.

use std::cmp::Reverse;

// region: leaderboard
use firn_sdk::data::CounterMap;
use firn_sdk::{Component, Context, Failure, Replicated};

use crate::board::{Place, Player, ScoreRequest, ShowRequest, Standings, leaderboard};

type Points = CounterMap<Player>;

/// Which function handles which command.
pub fn component() -> Component {
    Replicated::<Points>::component(leaderboard::SERVICE)
        .id("board_id")
        .on(leaderboard::SCORE, score)
        .on(leaderboard::SHOW, show)
        .watch(leaderboard::WATCH, |_: &ShowRequest, points: &Points| {
            Ok::<_, Failure>(standings(points))
        })
        .into()
}

fn score(request: ScoreRequest, board: &mut Context<Replicated<Points>>) -> Result<(), Failure> {
    if request.player.is_empty() {
        return Err(Failure::invalid_argument("the player has no name"));
    }
    let player = Player {
        name: request.player,
    };
    board.data_mut().change(&player, request.points);
    Ok(())
}
// endregion: leaderboard

fn show(_: ShowRequest, board: &mut Context<Replicated<Points>>) -> Result<Standings, Failure> {
    Ok(standings(board.data()))
}

/// The most points first, equal ones by name.
fn standings(points: &Points) -> Standings {
    let mut places: Vec<Place> = points
        .iter()
        .map(|(player, points)| Place {
            player: player.name,
            points: points.value(),
        })
        .collect();
    places.sort_by(|a, b| (Reverse(a.points), &a.player).cmp(&(Reverse(b.points), &b.player)));
    Standings { places }
}

//! The highest rate at which a server can be asked on a schedule, found by trying.
//!
//! It begins with a closed loop with many calls in flight, whose rate is where the search begins and
//! stands beside. Then calls begin on a schedule, at one rate after the other, each for a short time:
//! a rate is sustained if of the calls that were due in the time at least 99 of 100 were answered in it,
//! few were left, and half took no longer than is bearable. See [`firn_load::Search`]. Each begins when
//! what the one before has left the server to do is done.

use std::time::Duration;

use anyhow::{Result, bail};
use firn_load::load::Error;
use firn_load::{Load, Pace, Target, Watched};

use crate::effort::Effort;
use crate::figure::Figure;
use crate::load::{self, Outcome};
use crate::measurement::{Measurement, Spread};

/// How many calls are in flight in the closed loop.
const IN_FLIGHT: usize = 256;

/// The part of a trial before anything is counted.
const WARM: f64 = 0.25;

/// How much of what is due in a trial may be under way, of 1: more has not been kept up with, and need
/// not be waited for at the end.
const OUTSTANDING: f64 = 0.2;

/// What half of the calls of a sustained rate may take, in milliseconds. A server that was behind from
/// the beginning and does not fall back further answers as many as are due, each late: nobody would run
/// it so.
const HALF_MS_MAX: f64 = 10.0;

/// How many trials that failed are not believed, because the host of this machine gave much of the
/// processors to others meanwhile.
const DISTURBED: usize = 8;

/// How many rates are tried at most.
const TRIALS: usize = 24;

/// How long is looked for the highest rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    /// For the closed loop.
    pub(super) closed: Duration,
    /// For each rate that is tried.
    pub(super) trial: Duration,
}

impl Looked {
    /// As long as is looked for something that is looked for often.
    pub(super) const SHORT: Self = Self {
        closed: Duration::from_secs(2),
        trial: Duration::from_millis(1500),
    };
}

/// What was found.
pub(super) struct Highest {
    /// The closed loop.
    pub(super) closed: Outcome,
    /// The trial at the highest rate that was sustained.
    pub(super) open: Outcome,
}

impl Highest {
    /// Looks for it. A search begins at the rate of one before, if there was one.
    pub(super) async fn find(
        target: &Target,
        watched: &[Watched],
        effort: Effort,
        looked: Looked,
        before: Option<&Self>,
    ) -> Result<Self> {
        let warm = |time: Duration| time.mul_f64(WARM);
        let time = effort.time(looked.closed);
        let closed = Load::closed(IN_FLIGHT, warm(time), time);
        load::rest(watched).await?;
        let closed = load::on(target, &closed, watched).await?;
        let mut search = firn_load::Search::new(before.map_or(closed.rate, Self::rate));
        let time = effort.trial(looked.trial);
        let (mut best, mut last) = (None, None);
        let mut disturbed = effort.rounds(DISTURBED);
        for _ in 0..TRIALS {
            let Some(rate) = search.next() else { break };
            load::rest(watched).await?;
            let tried = tried(target, watched, rate, (warm(time), time)).await?;
            let is_sustained = tried.as_ref().is_some_and(is_sustained);
            if !is_sustained
                && disturbed > 0
                && tried.as_ref().is_some_and(|it| it.all.is_disturbed())
            {
                disturbed -= 1;
                last = tried;
                load::pause(effort).await;
                continue;
            }
            search.learn(is_sustained);
            match is_sustained {
                true => best = tried,
                false => last = tried.or(last),
            }
        }
        // A brief run only shows that it runs, also where others leave it no processor.
        if effort == Effort::Brief {
            best = best.or(last);
        }
        match best {
            Some(open) => Ok(Self { closed, open }),
            None => bail!(
                "no rate on a schedule was kept up with, half of the calls within {HALF_MS_MAX} ms, down \
                 from {:.0} calls in a second",
                closed.rate
            ),
        }
    }

    /// The highest rate: so many calls were due in a second.
    pub(super) fn rate(&self) -> f64 {
        match self.open.all.load.pace {
            Pace::Open { rate, .. } => rate,
            Pace::Closed { .. } => unreachable!("a trial is an open loop"),
        }
    }
}

/// Asks on a schedule for a time; gives what came of it, if everything was answered at last.
async fn tried(
    target: &Target,
    watched: &[Watched],
    rate: f64,
    (warm, measured): (Duration, Duration),
) -> Result<Option<Outcome>> {
    let load = Load {
        pace: Pace::Open {
            rate,
            outstanding_max: (rate * measured.as_secs_f64() * OUTSTANDING).ceil() as usize,
        },
        warm,
        measured,
    };
    match target.run(&load, watched).await {
        Ok(all) => Ok(Some(Outcome::new(all, target.connection_count()))),
        Err(Error::Unanswered { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a server kept up, without much of a delay. It may refuse what is too much, which is no failure
/// of the case.
fn is_sustained(outcome: &Outcome) -> bool {
    let all = &outcome.all;
    let has_kept_up = all.kept_up.is_some_and(|it| it.is_sustained());
    all.failed() == 0 && all.unstarted == 0 && has_kept_up && outcome.time_ms(0.5) <= HALF_MS_MAX
}

/// The same figure, with both highest rates and who used the processors at that of the open loop, and
/// with the loads that say so.
pub(super) fn shown(figure: Figure, name: &str, rounds: &[&Highest]) -> Figure {
    let open: Vec<&Outcome> = rounds.iter().map(|it| &it.open).collect();
    let closed: Vec<&Outcome> = rounds.iter().map(|it| &it.closed).collect();
    let (open, closed) = (Measurement::of(name, &open), Measurement::of(name, &closed));
    let rates: Vec<f64> = rounds.iter().map(|it| it.rate()).collect();
    let highest = Spread::of(&rates);
    figure
        .detail(
            "the highest rate",
            format!(
                "{:.0}/s on a schedule ({:.0} to {:.0}), {:.0}/s in a closed loop with {IN_FLIGHT} \
                 in flight",
                highest.median, highest.least, highest.most, closed.rate.median
            ),
        )
        .detail("the highest rate: processors", open.processors())
        .measured(closed)
        .measured(open)
}

use firn_model::id::{EntityId, StorageName};
use proptest::collection::vec;
use proptest::prelude::*;

use super::bench::Bench;
use crate::driver::ReplyTo;
use crate::lane::due::Moment;
use crate::lane::instance::Instance;
use crate::lane::instances::Instances;

/// Each active entity costs this, whatever it does; `firn bench` measures all that it costs. It had
/// 328 bytes when each idle one held its queues, its key a second time and its alarms in full.
#[test]
fn instance_is_small() {
    assert!(size_of::<Instance<ReplyTo>>() <= 168);
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Insert(u8),
    Remove(u8),
    BecomeIdle(u8),
    BecomeBusy(u8),
    LongestIdle,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0_u8..6).prop_map(Op::Insert),
        1 => (0_u8..6).prop_map(Op::Remove),
        5 => (0_u8..6).prop_map(Op::BecomeIdle),
        2 => (0_u8..6).prop_map(Op::BecomeBusy),
        2 => Just(Op::LongestIdle),
    ]
}

/// What of an instance is enough to tell whether it is busy, here.
const BUSY: u64 = 1;

proptest! {
    #[test]
    fn line_of_the_idle_is_in_order(ops in vec(op(), 0..60)) {
        let bench = Bench::new();
        let component = bench.command("/t.Cart/Do", "0", 0).method.component.clone();
        let mut instances: Instances<u32> = Instances::default();
        let mut line: Vec<u8> = Vec::new();
        let mut held = [false; 6];
        for op in ops {
            let place = |instances: &Instances<u32>, id: u8| {
                instances.find(&component.storage, &id.to_string())
            };
            match op {
                Op::Insert(id) if !held[id as usize] => {
                    held[id as usize] = true;
                    let id = EntityId::single(id.to_string());
                    instances.insert(Instance::new(id, component.clone(), Moment::NEVER));
                }
                Op::Remove(id) => {
                    if let Some(index) = place(&instances, id) {
                        let gone = instances.remove(index);
                        prop_assert!(gone.is_of(&component.storage, &id.to_string()));
                        held[id as usize] = false;
                        line.retain(|it| *it != id);
                    }
                }
                Op::BecomeIdle(id) => {
                    if let Some(index) = place(&instances, id) {
                        instances[index].last_event = 0;
                        instances.became_idle(index);
                        line.retain(|it| *it != id);
                        line.push(id);
                    }
                }
                Op::BecomeBusy(id) => {
                    if let Some(index) = place(&instances, id) {
                        instances[index].last_event = BUSY;
                    }
                }
                Op::LongestIdle => {
                    let is_busy = |id: u8| {
                        place(&instances, id).is_some_and(|it| instances[it].last_event == BUSY)
                    };
                    let passed = line.iter().take_while(|id| is_busy(**id)).count();
                    line.drain(..passed);
                    let expected = (!line.is_empty()).then(|| line.remove(0).to_string());
                    let found = instances.longest_idle(|it| it.last_event != BUSY);
                    let found = found.map(|index| instances[index].id.stored().to_string());
                    prop_assert_eq!(found, expected);
                }
                Op::Insert(_) => {}
            }
            for id in 0..6 {
                let is_found = place(&instances, id).is_some();
                prop_assert_eq!(is_found, held[id as usize]);
            }
            let other = StorageName::new("another");
            prop_assert!(instances.find(&other, "0").is_none());
        }
    }
}

//! A queue for what nearly always is one thing or nothing.

#![expect(
    clippy::box_collection,
    reason = "the rare long queue must not make the many short ones larger"
)]

use std::collections::VecDeque;

/// A queue that takes no memory besides itself while it holds one thing or nothing: most entities in
/// memory have nothing to do, and most others a single command. [`VecDeque`] would keep its room.
#[derive(Debug)]
pub struct Few<T>(Held<T>);

#[derive(Debug)]
enum Held<T> {
    Nothing,
    One(T),
    /// At least one.
    Many(Box<VecDeque<T>>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Held::Nothing)
    }
}

impl<T> Few<T> {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Held::Nothing)
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::Nothing => 0,
            Held::One(_) => 1,
            Held::Many(all) => all.len(),
        }
    }

    /// The first.
    pub fn front(&self) -> Option<&T> {
        match &self.0 {
            Held::Nothing => None,
            Held::One(only) => Some(only),
            Held::Many(all) => all.front(),
        }
    }

    /// The last.
    pub fn back(&self) -> Option<&T> {
        match &self.0 {
            Held::Nothing => None,
            Held::One(only) => Some(only),
            Held::Many(all) => all.back(),
        }
    }

    /// Puts one behind the others.
    pub fn push_back(&mut self, last: T) {
        self.0 = match std::mem::take(self).0 {
            Held::Nothing => Held::One(last),
            Held::One(first) => Held::Many(Box::new([first, last].into())),
            Held::Many(mut all) => {
                all.push_back(last);
                Held::Many(all)
            }
        };
    }

    /// Puts one before the others.
    pub fn push_front(&mut self, first: T) {
        self.0 = match std::mem::take(self).0 {
            Held::Nothing => Held::One(first),
            Held::One(last) => Held::Many(Box::new([first, last].into())),
            Held::Many(mut all) => {
                all.push_front(first);
                Held::Many(all)
            }
        };
    }

    /// Takes the first.
    pub fn pop_front(&mut self) -> Option<T> {
        match std::mem::take(self).0 {
            Held::Nothing => None,
            Held::One(only) => Some(only),
            Held::Many(mut all) => {
                let first = all.pop_front();
                self.keep(all);
                first
            }
        }
    }

    /// Takes out what is equal to this.
    pub fn remove(&mut self, gone: &T)
    where
        T: PartialEq,
    {
        match std::mem::take(self).0 {
            Held::Nothing => {}
            Held::One(only) if only == *gone => {}
            one @ Held::One(_) => self.0 = one,
            Held::Many(mut all) => {
                all.retain(|it| it != gone);
                self.keep(all);
            }
        }
    }

    /// Takes everything, in order.
    pub fn take_all(&mut self) -> VecDeque<T> {
        match std::mem::take(self).0 {
            Held::Nothing => VecDeque::new(),
            Held::One(only) => [only].into(),
            Held::Many(all) => *all,
        }
    }

    /// Everything, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match &self.0 {
            Held::Nothing => (None, None),
            Held::One(only) => (Some(only), None),
            Held::Many(all) => (None, Some(all.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Everything, in order, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let (one, many) = match &mut self.0 {
            Held::Nothing => (None, None),
            Held::One(only) => (Some(only), None),
            Held::Many(all) => (None, Some(all.iter_mut())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn keep(&mut self, all: Box<VecDeque<T>>) {
        if !all.is_empty() {
            self.0 = Held::Many(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Op {
        PushBack(u8),
        PushFront(u8),
        PopFront,
        Remove(u8),
        TakeAll,
        Double,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0_u8..4).prop_map(Op::PushBack),
            2 => (0_u8..4).prop_map(Op::PushFront),
            4 => Just(Op::PopFront),
            2 => (0_u8..4).prop_map(Op::Remove),
            1 => Just(Op::TakeAll),
            1 => Just(Op::Double),
        ]
    }

    proptest! {
        #[test]
        fn is_a_queue_like_any_other(ops in vec(op(), 0..40)) {
            let (mut few, mut queue) = (Few::default(), VecDeque::new());
            for op in ops {
                match op {
                    Op::PushBack(item) => {
                        few.push_back(item);
                        queue.push_back(item);
                    }
                    Op::PushFront(item) => {
                        few.push_front(item);
                        queue.push_front(item);
                    }
                    Op::PopFront => prop_assert_eq!(few.pop_front(), queue.pop_front()),
                    Op::Remove(item) => {
                        few.remove(&item);
                        queue.retain(|it| *it != item);
                    }
                    Op::TakeAll => prop_assert_eq!(few.take_all(), std::mem::take(&mut queue)),
                    Op::Double => {
                        few.iter_mut().for_each(|item| *item = item.wrapping_mul(2));
                        queue.iter_mut().for_each(|item| *item = item.wrapping_mul(2));
                    }
                }
                prop_assert_eq!(few.len(), queue.len());
                prop_assert_eq!(few.is_empty(), queue.is_empty());
                prop_assert_eq!((few.front(), few.back()), (queue.front(), queue.back()));
                prop_assert!(few.iter().eq(&queue));
            }
        }
    }

    #[test]
    fn holds_no_room_for_more_than_one() {
        assert_eq!(size_of::<Few<Box<u8>>>(), 16);
        let mut few = Few::default();
        few.push_back(1);
        few.push_back(2);
        few.pop_front();
        few.pop_front();
        assert!(matches!(few.0, Held::Nothing));
    }
}

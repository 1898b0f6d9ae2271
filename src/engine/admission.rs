//! Admission: which loads may run now, which wait for a moment, and which are turned away.
//!
//! A load needs three things before it may touch anything: one of the slots, one of its table's slots, and the memory that it may come to
//! need. It gets them all at once or waits for all of them, so loads cannot wait for each other in a circle. The waiting room is bounded
//! in number and in time, and is left in the order in which it was entered, but for one thing: whoever lacks nothing but a slot of its
//! table holds up nobody who goes elsewhere. A waiting load is an entry in a list: no connection, no byte of its body.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::Shortage;

/// How many other spellings of tables' names are remembered.
const SPELLINGS_MAX: usize = 1024;

/// What there is to give out.
#[derive(Debug, Clone)]
pub struct Capacity {
    /// loads at a time
    pub slots: usize,
    /// loads into one table at a time
    pub table_slots: usize,
    /// memory for all loads together, in bytes
    pub memory_bytes: u64,
    /// loads that wait
    pub waiting_max: usize,
    /// how long one waits
    pub wait: Duration,
}

/// The door to the bulk engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission {
    capacity: Arc<Capacity>,
    room: Arc<Mutex<Room>>,
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// loads that may run
    pub slots: usize,
    /// loads that do
    pub in_use: usize,
    /// loads in the waiting room
    pub waiting: usize,
    /// memory for all loads together, in bytes
    pub memory_bytes: u64,
    /// what those that run may come to need of it
    pub memory_bytes_in_use: u64,
}

/// A load in the waiting room or, once [`Admission::enter`] has returned it, at work. Whatever way it ends, dropping it gives everything
/// back.
#[derive(Debug)]
pub struct Place {
    admission: Admission,
    number: u64,
    /// the table as the request calls it
    requested: String,
    need: Need,
}

#[derive(Debug, Clone)]
struct Need {
    table: String,
    bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    need: Need,
    granted: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Room {
    next_number: u64,
    /// loads at work
    loads: usize,
    loads_by_table: HashMap<String, usize>,
    memory_bytes: u64,
    /// in the order in which they came
    waiting: VecDeque<Waiting>,
    /// what a table was called in a request, and what it is called
    spellings: HashMap<String, String>,
}

impl Admission {
    /// Nobody is there yet.
    pub fn new(capacity: Capacity) -> Admission {
        Admission { capacity: Arc::new(capacity), room: Arc::default() }
    }

    /// How full it is now.
    pub fn occupancy(&self) -> Occupancy {
        let room = self.lock();
        Occupancy {
            slots: self.capacity.slots,
            in_use: room.loads,
            waiting: room.waiting.len(),
            memory_bytes: self.capacity.memory_bytes,
            memory_bytes_in_use: room.memory_bytes,
        }
    }

    /// Waits a short while for a place for a load into this table, as it is called in the request, that may come to need so much memory.
    /// One that may need more than there is gets all of it, and runs alone. Dropped, it leaves the waiting room.
    ///
    /// # Errors
    /// What there is not enough of.
    pub async fn enter(&self, table: &str, bytes: u64) -> Result<Place, Shortage> {
        let (place, granted) = self.queue_up(table, bytes)?;
        if tokio::time::timeout(self.capacity.wait, granted).await.is_ok() {
            return Ok(place);
        }
        // Unless it came at the last moment.
        let shortage = self.lock().shortage(place.number, &self.capacity);
        shortage.map_or(Ok(place), Err)
    }

    fn queue_up(&self, requested: &str, bytes: u64) -> Result<(Place, oneshot::Receiver<()>), Shortage> {
        let (granted, when_granted) = oneshot::channel();
        let mut room = self.lock();
        let table = room.spellings.get(requested).map_or(requested, String::as_str).to_owned();
        let need = Need { table, bytes: bytes.min(self.capacity.memory_bytes) };
        let number = room.next_number;
        room.next_number += 1;
        room.waiting.push_back(Waiting { number, need: need.clone(), granted });
        room.let_in(&self.capacity);
        let waits = room.waiting.back().is_some_and(|last| last.number == number);
        let is_full = room.waiting.len() > self.capacity.waiting_max;
        drop(room);
        // From here on, dropping it cleans up.
        let place = Place { admission: self.clone(), number, requested: requested.to_owned(), need };
        if waits && is_full {
            return Err(Shortage::WaitingRoom { waiting_max: self.capacity.waiting_max });
        }
        Ok((place, when_granted))
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Now it is known what the table is called. False when the load was let in under another name and its table has as many loads as it
    /// may: then it has to leave and come again, and will be known by the right name.
    pub fn settle(&mut self, table: &str) -> bool {
        let capacity = &self.admission.capacity;
        let mut room = self.admission.lock();
        room.remember(&self.requested, table);
        if self.need.table == table {
            return true;
        }
        if room.loads_into(table) >= capacity.table_slots {
            return false;
        }
        room.give_back(&self.need);
        table.clone_into(&mut self.need.table);
        room.take(&self.need);
        room.let_in(capacity);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut room = self.admission.lock();
        match room.waiting.iter().position(|waiting| waiting.number == self.number) {
            Some(index) => drop(room.waiting.remove(index)),
            None => room.give_back(&self.need),
        }
        room.let_in(&self.admission.capacity);
    }
}

impl Room {
    /// Lets in whoever may come in now.
    fn let_in(&mut self, capacity: &Capacity) {
        let mut index = 0;
        while let Some(waiting) = self.waiting.get(index) {
            match self.lack(&waiting.need, capacity) {
                None => {
                    if let Some(Waiting { need, granted, .. }) = self.waiting.remove(index) {
                        self.take(&need);
                        // The place is there for as long as it is on the list, and the receiver with it.
                        let _ = granted.send(());
                    }
                }
                Some(Shortage::Table { .. }) => index += 1,
                // Whoever comes after must not overtake, or who needs much would wait for ever.
                Some(_) => break,
            }
        }
    }

    /// What there is not enough of.
    fn lack(&self, need: &Need, capacity: &Capacity) -> Option<Shortage> {
        if self.loads_into(&need.table) >= capacity.table_slots {
            return Some(Shortage::Table { table: need.table.clone(), slots: capacity.table_slots });
        }
        if self.loads >= capacity.slots {
            return Some(Shortage::Slots { slots: capacity.slots });
        }
        let memory_bytes = capacity.memory_bytes;
        (need.bytes > memory_bytes - self.memory_bytes).then_some(Shortage::Memory { bytes: need.bytes, memory_bytes })
    }

    /// Why somebody who waits still does: what it lacks itself, or who stands before it.
    fn shortage(&self, number: u64, capacity: &Capacity) -> Option<Shortage> {
        let own = self.waiting.iter().find(|waiting| waiting.number == number)?;
        let before = |waiting: &Waiting| match self.lack(&waiting.need, capacity)? {
            // Nobody is held up by that.
            Shortage::Table { .. } => None,
            // How much the other needs is not the caller's business.
            Shortage::Memory { memory_bytes, .. } => Some(Shortage::Memory { bytes: own.need.bytes, memory_bytes }),
            shortage => Some(shortage),
        };
        self.lack(&own.need, capacity).or_else(|| self.waiting.iter().find_map(before))
    }

    fn take(&mut self, need: &Need) {
        self.loads += 1;
        self.memory_bytes += need.bytes;
        *self.loads_by_table.entry(need.table.clone()).or_default() += 1;
    }

    fn give_back(&mut self, need: &Need) {
        self.loads -= 1;
        self.memory_bytes -= need.bytes;
        if let Some(loads) = self.loads_by_table.get_mut(&need.table) {
            *loads -= 1;
            if *loads == 0 {
                self.loads_by_table.remove(&need.table);
            }
        }
    }

    fn loads_into(&self, table: &str) -> usize {
        self.loads_by_table.get(table).copied().unwrap_or_default()
    }

    fn remember(&mut self, requested: &str, table: &str) {
        if requested == table {
            self.spellings.remove(requested);
            return;
        }
        if self.spellings.len() >= SPELLINGS_MAX {
            self.spellings.clear();
        }
        self.spellings.insert(requested.to_owned(), table.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    const NEVER: Duration = Duration::from_secs(3600);

    fn door(slots: usize, table_slots: usize, memory_bytes: u64, wait: Duration) -> Admission {
        Admission::new(Capacity { slots, table_slots, memory_bytes, waiting_max: 3, wait })
    }

    type Entering<'a> = BoxFuture<'a, Result<Place, Shortage>>;

    /// Begins to wait; the place if there is one at once.
    fn come<'a>(door: &'a Admission, table: &'a str, bytes: u64) -> (Entering<'a>, Option<Result<Place, Shortage>>) {
        let mut entering = door.enter(table, bytes).boxed();
        let now = (&mut entering).now_or_never();
        (entering, now)
    }

    fn enter(door: &Admission, table: &str, bytes: u64) -> Place {
        come(door, table, bytes).1.expect("no place at once").unwrap()
    }

    fn nobody_is_there(door: &Admission) -> bool {
        let room = door.lock();
        (room.loads, room.memory_bytes, room.loads_by_table.len(), room.waiting.len()) == (0, 0, 0, 0)
    }

    #[tokio::test]
    async fn first_come_first_served() {
        let door = door(1, 1, 100, NEVER);
        let at_work = enter(&door, "a", 1);
        let (mut second, None) = come(&door, "b", 1) else { panic!("two at once") };
        let (mut third, None) = come(&door, "c", 1) else { panic!("two at once") };
        drop(at_work);
        assert!((&mut third).now_or_never().is_none(), "the third overtook the second");
        let second = (&mut second).now_or_never().unwrap().unwrap();
        drop(second);
        drop(third.await.unwrap());
        assert!(nobody_is_there(&door));
    }

    #[tokio::test]
    async fn a_full_waiting_room_answers_at_once_and_whoever_leaves_makes_room() {
        let door = door(1, 1, 100, NEVER);
        let at_work = enter(&door, "a", 1);
        let mut waiting: Vec<_> = (0..3).map(|_| come(&door, "a", 1).0).collect();
        let full = come(&door, "a", 1).1;
        assert!(matches!(full, Some(Err(Shortage::WaitingRoom { waiting_max: 3 }))), "{full:?}");
        drop(waiting.remove(1));
        let (last, None) = come(&door, "a", 1) else { panic!("no room for one more") };
        drop(at_work);
        for entering in waiting {
            drop(entering.await.unwrap());
        }
        drop(last.await.unwrap());
        assert!(nobody_is_there(&door));
    }

    #[tokio::test]
    async fn whoever_waits_for_a_table_holds_up_nobody_else() {
        let door = door(2, 1, 100, NEVER);
        let at_work = enter(&door, "a", 1);
        let (mut again, None) = come(&door, "a", 1) else { panic!("two into one table") };
        let elsewhere = enter(&door, "b", 1);
        assert!((&mut again).now_or_never().is_none());
        drop(at_work);
        drop((again.await.unwrap(), elsewhere));
        assert!(nobody_is_there(&door));
    }

    #[tokio::test]
    async fn whoever_needs_much_memory_is_not_overtaken_for_ever() {
        let door = door(4, 4, 100, NEVER);
        let at_work = enter(&door, "a", 50);
        let (mut large, None) = come(&door, "a", 1_000_000) else { panic!("over the budget") };
        let (small, None) = come(&door, "a", 10) else { panic!("overtaken") };
        let shortage = door.lock().shortage(2, &door.capacity);
        assert_eq!(shortage, Some(Shortage::Memory { bytes: 10, memory_bytes: 100 }), "its own need, behind another's");
        drop(at_work);
        let large = (&mut large).now_or_never().unwrap().unwrap();
        drop(large);
        drop(small.await.unwrap());
        assert!(nobody_is_there(&door));
    }

    #[tokio::test]
    async fn waiting_ends_and_says_what_there_was_not_enough_of() {
        let door = door(2, 1, 100, Duration::from_millis(1));
        let at_work = enter(&door, "a", 60);
        assert_eq!(door.enter("a", 1).await.unwrap_err(), Shortage::Table { table: "a".into(), slots: 1 });
        assert_eq!(door.enter("b", 50).await.unwrap_err(), Shortage::Memory { bytes: 50, memory_bytes: 100 });
        let elsewhere = enter(&door, "b", 40);
        assert_eq!(door.enter("c", 0).await.unwrap_err(), Shortage::Slots { slots: 2 });
        drop((at_work, elsewhere));
        assert!(nobody_is_there(&door));
    }

    #[tokio::test]
    async fn two_spellings_are_one_table() {
        let door = door(4, 1, 100, NEVER);
        let mut short = enter(&door, "t", 1);
        assert!(short.settle("public.t"));
        let mut long = enter(&door, "t2", 1);
        assert!(!long.settle("public.t"), "two into one table");
        drop(long);
        // Both are known now.
        for spelling in ["t", "t2", "public.t"] {
            assert!(come(&door, spelling, 1).1.is_none(), "{spelling}");
        }
        drop(short);
        let mut renamed = enter(&door, "t", 1);
        assert!(renamed.settle("other.t"));
        drop((enter(&door, "public.t", 1), renamed));
        assert!(nobody_is_there(&door));
    }
}

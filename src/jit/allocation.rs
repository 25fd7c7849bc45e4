//! Register allocation: a linear scan over the lifetimes of values.
//!
//! A value has one place for its whole life: a register, or a word of the frame (a *spill*). Micro-ops that need more than
//! that save and restore around themselves what they disturb. A value made before the loop and used in it lives to
//! the end of the loop. What a pass leaves for the next one shares the place of its `PHI` if that is not used any more when it is
//! made. Spilled is what is used least for its length, a use in the loop counting ten times, and exits not at all.
//!
//! A node's inputs and the values of its snapshot may lie in the same registers as its outputs: lowering reads the ones, and leaves,
//! before it writes the others.
//!
//! Invariant, which [`checker`](super::checker) checks: no two values that are alive at the same time share a place.

use perilune_uops::MicroOp;

use super::plan::{Class, Part, Plan};
use crate::tier2::superblock::Ref;

/// Where a part of a value is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    None,
    Gpr(u8),
    Xmm(u8),
    /// A word of the frame.
    Spill(u16),
    Const(u64),
}

/// The registers that values may be given.
#[derive(Clone, Copy)]
pub struct Registers {
    pub general: &'static [u8],
    pub float: &'static [u8],
    /// Words of the frame.
    pub spills: u16,
}

/// More values are alive at once than there are places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyValues;

/// A value's life, from the position where it is made to that of its last use. Node `i` uses at `2 * i` and makes at
/// `2 * i + 1`.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub start: u32,
    pub end: u32,
    pub place: Place,
    class: Class,
    uses: u32,
    hint: Option<u32>,
    /// Where the parameter comes from.
    origin: Place,
    /// Whether it is there as it is.
    same: bool,
}

impl Life {
    /// Whether it is that of a parameter that stays where it comes from.
    pub fn is_where_it_was(&self) -> bool {
        self.same && self.place == self.origin
    }
}

/// See the module's documentation.
pub struct Allocation {
    /// For each value the index of its life, or `NONE`.
    lives_of: Vec<u32>,
    pub lives: Vec<Life>,
    /// Places that keep values of a loop to which control comes back.
    pub reserved: Vec<Place>,
}

const NONE: u32 = u32::MAX;

impl Allocation {
    pub fn place(&self, part: Part) -> Place {
        match part {
            Part::None => Place::None,
            Part::Const(bits) => Place::Const(bits),
            Part::Value(v) => match self.lives_of[v as usize] {
                NONE => Place::None,
                life => self.lives[life as usize].place,
            },
        }
    }

    /// The registers in use while node `i` runs, its outputs not among them.
    pub fn live_at(&self, i: usize) -> impl Iterator<Item = Place> + '_ {
        self.live_between(2 * i as u32, 2 * i as u32)
    }

    /// The registers in use while node `i` runs and afterwards, its outputs not among them.
    pub fn live_through(&self, i: usize) -> impl Iterator<Item = Place> + '_ {
        self.live_between(2 * i as u32, 2 * i as u32 + 1)
    }

    fn live_between(&self, from: u32, to: u32) -> impl Iterator<Item = Place> + '_ {
        let live = move |l: &&Life| {
            l.start <= from
                && l.end >= to
                && !matches!(l.place, Place::Spill(_))
                && !self.reserved.contains(&l.place)
        };
        let reserved = self
            .reserved
            .iter()
            .copied()
            .filter(|p| !matches!(p, Place::Spill(_)));
        self.lives
            .iter()
            .filter(live)
            .map(|l| l.place)
            .chain(reserved)
    }

    /// The places of what is made before the loop and used in it.
    pub fn kept_by_loop(&self, plan: &Plan) -> Vec<Place> {
        let Some(head) = plan.head() else {
            return Vec::new();
        };
        let end = 2 * (plan.sb.nodes.len() as u32 - 1) + 1;
        let through = |l: &&Life| l.uses != NONE && l.start < 2 * head as u32 && l.end >= end;
        self.lives.iter().filter(through).map(|l| l.place).collect()
    }
}

/// Gives every value its place. In reserved places are values of the parent's: only parameters may have them, which are these values.
pub fn allocate(
    plan: &Plan,
    registers: Registers,
    reserved: &[Place],
) -> Result<Allocation, TooManyValues> {
    let mut lives = Lives::new(plan);
    lives.find();
    lives.coalesce();
    lives.hint();
    let Lives {
        lives_of, lives, ..
    } = lives;
    let set = |places: &mut dyn Iterator<Item = Place>| {
        let mut set = RegisterSet::default();
        places.for_each(|place| set.add(place));
        set
    };
    let mut scan = Scan {
        origins: set(&mut lives.iter().map(|l| l.origin)),
        taken: set(&mut reserved.iter().copied()),
        lives,
        registers,
        reserved,
        active: Vec::new(),
    };
    scan.run();
    scan.place_spills()?;
    Ok(Allocation {
        lives_of,
        lives: scan.lives,
        reserved: reserved.to_vec(),
    })
}

struct Lives<'a, 'p> {
    plan: &'p Plan<'a>,
    lives_of: Vec<u32>,
    lives: Vec<Life>,
}

impl<'a, 'p> Lives<'a, 'p> {
    fn new(plan: &'p Plan<'a>) -> Lives<'a, 'p> {
        Lives {
            plan,
            lives_of: vec![NONE; 2 * plan.sb.nodes.len() + plan.addresses.derived.len()],
            lives: Vec::new(),
        }
    }

    fn end_of_loop(&self) -> u32 {
        2 * (self.plan.sb.nodes.len() as u32 - 1) + 1
    }

    fn find(&mut self) {
        let plan = self.plan;
        for i in 0..plan.sb.nodes.len() {
            for k in 0..2 {
                if plan.parts[i][k] == Part::Value(Plan::value(i, k)) {
                    self.begin(i, k);
                }
            }
        }
        for (i, derived) in plan.addresses.derived.iter().enumerate() {
            let start = 2 * derived.at - 1;
            self.begin_life(plan.derived(i as u32), start, Place::None, true);
        }
        let n = plan.sb.nodes.len();
        for (i, node) in plan.sb.nodes.iter().enumerate() {
            let at = match (node.op, plan.head()) {
                // The first values of the loop are moved at its head.
                (MicroOp::PHI, Some(head)) => head,
                _ => plan.place(i),
            };
            if plan.is_dead(at) {
                continue;
            }
            for r in plan.inputs(i) {
                self.use_at(r, at);
            }
            for r in plan.leaves_with(i) {
                self.keep_until(r, at);
            }
            for derived in plan.addresses.used_by(i) {
                self.use_value(plan.derived(derived), at);
            }
        }
        for derived in &plan.addresses.derived {
            self.use_at(derived.common.operand(), derived.at as usize);
        }
        for &r in plan.back() {
            self.use_at(r, n - 1);
        }
    }

    fn begin(&mut self, i: usize, k: usize) {
        let plan = self.plan;
        let node = &plan.sb.nodes[i];
        let mut same = true;
        let (start, origin) = match (node.op, plan.head()) {
            (MicroOp::PHI, Some(head)) => (2 * head as u32 + 1, Place::None),
            (MicroOp::PARAM, _) => {
                let places = plan.params[node.operands[0] as usize].places;
                // The tag of a boolean is made of its payload.
                same = k == 0 || places[1] != Place::None;
                (0, places[if places[1] == Place::None { 0 } else { k }])
            }
            _ => (2 * i as u32 + 1, Place::None),
        };
        self.begin_life(Plan::value(i, k), start, origin, same);
    }

    fn begin_life(&mut self, value: u32, start: u32, origin: Place, same: bool) {
        self.lives_of[value as usize] = self.lives.len() as u32;
        let class = self.plan.class(value);
        self.lives.push(Life {
            start,
            end: start,
            place: Place::None,
            class,
            uses: 0,
            hint: None,
            origin,
            same,
        });
    }

    /// An exit at `at` has a value, in whatever place.
    fn keep_until(&mut self, r: Ref, at: usize) {
        for part in self.plan.parts[r.index()] {
            if let Part::Value(v) = part {
                self.keep_value(v, at);
            }
        }
    }

    fn keep_value(&mut self, v: u32, at: usize) -> Option<&mut Life> {
        let plan = self.plan;
        let end = match plan.head() {
            Some(head) if plan.maker(v).0 < head && at > head => self.end_of_loop(),
            _ => 2 * at as u32,
        };
        let life = self.lives.get_mut(self.lives_of[v as usize] as usize)?;
        life.end = life.end.max(end);
        Some(life)
    }

    fn use_at(&mut self, r: Ref, at: usize) {
        for part in self.plan.parts[r.index()] {
            if let Part::Value(v) = part {
                self.use_value(v, at);
            }
        }
    }

    fn use_value(&mut self, v: u32, at: usize) {
        let in_loop = self.plan.head().is_some_and(|head| at > head);
        if let Some(life) = self.keep_value(v, at) {
            life.uses += if in_loop { 10 } else { 1 };
        }
    }

    /// The life of a value, if it is a value of the same class.
    fn life_of(&self, part: Part) -> Option<u32> {
        let Part::Value(v) = part else { return None };
        let life = self.lives_of[v as usize];
        (life != NONE).then_some(life)
    }

    /// Lets what a pass leaves for the next one share the place of its `PHI`.
    fn coalesce(&mut self) {
        let plan = self.plan;
        let Some(head) = plan.head() else { return };
        let body = head + plan.back().len();
        for (phi, back) in plan.sb.phis().zip(plan.back()) {
            for k in 0..2 {
                let (Some(p), Some(b)) = (
                    self.life_of(plan.parts[phi.index()][k]),
                    self.life_of(plan.parts[back.index()][k]),
                ) else {
                    continue;
                };
                let Part::Value(v) = plan.parts[back.index()][k] else {
                    continue;
                };
                let (into, from) = (self.lives[p as usize], self.lives[b as usize]);
                let made_here = plan.maker(v).0 > body;
                // Its own life begins behind the head; if it has been joined to another `PHI` it begins there.
                let separate = from.start > 2 * body as u32 && into.end < from.start;
                if p != b && made_here && separate && into.class == from.class {
                    let end = self.end_of_loop();
                    let joined = &mut self.lives[p as usize];
                    joined.end = end;
                    joined.uses += from.uses;
                    self.lives_of[v as usize] = p;
                    // The other life is no longer anybody's.
                    self.lives[b as usize].uses = NONE;
                }
            }
        }
    }

    /// Says which values had better be in the same place.
    fn hint(&mut self) {
        let plan = self.plan;
        for phi in plan.sb.phis() {
            let init = plan.sb.node(phi).inputs[0];
            for k in 0..2 {
                let p = self.life_of(plan.parts[phi.index()][k]);
                let from = self.life_of(plan.parts[init.index()][k]);
                if let (Some(p), Some(from)) = (p, from) {
                    self.lives[p as usize].hint = Some(from);
                }
            }
        }
        for (i, node) in plan.sb.nodes.iter().enumerate() {
            let Some(own) = self.life_of(plan.parts[i][0]) else {
                continue;
            };
            if node.op == MicroOp::PHI || self.lives[own as usize].hint.is_some() {
                continue;
            }
            // Two-operand instructions overwrite the first one.
            if let Some(&first) = node.inputs().first()
                && let Some(from) = self.life_of(plan.parts[first.index()][0])
                && from != own
            {
                self.lives[own as usize].hint = Some(from);
            }
        }
    }
}

/// A set of registers.
#[derive(Clone, Copy, Default)]
struct RegisterSet {
    general: u32,
    float: u32,
}

impl RegisterSet {
    fn add(&mut self, place: Place) {
        match place {
            Place::Gpr(r) => self.general |= 1 << r,
            Place::Xmm(x) => self.float |= 1 << x,
            Place::None | Place::Spill(_) | Place::Const(_) => {}
        }
    }

    fn remove(&mut self, place: Place) {
        match place {
            Place::Gpr(r) => self.general &= !(1 << r),
            Place::Xmm(x) => self.float &= !(1 << x),
            Place::None | Place::Spill(_) | Place::Const(_) => {}
        }
    }

    fn contains(self, place: Place) -> bool {
        match place {
            Place::Gpr(r) => self.general & 1 << r != 0,
            Place::Xmm(x) => self.float & 1 << x != 0,
            Place::None | Place::Spill(_) | Place::Const(_) => false,
        }
    }
}

struct Scan<'r> {
    lives: Vec<Life>,
    registers: Registers,
    reserved: &'r [Place],
    /// Its registers, and those of lives that are not over.
    taken: RegisterSet,
    /// The registers in which parameters arrive.
    origins: RegisterSet,
    /// Lives that have registers and are not over.
    active: Vec<u32>,
}

impl Scan<'_> {
    fn run(&mut self) {
        let mut order: Vec<u32> = (0..self.lives.len() as u32)
            .filter(|&l| self.lives[l as usize].uses != NONE)
            .collect();
        order.sort_by_key(|&l| self.lives[l as usize].start);
        for &l in &order {
            let life = self.lives[l as usize];
            if self.is_kept(&life) {
                self.lives[l as usize].place = life.origin;
                continue;
            }
            let (lives, taken) = (&self.lives, &mut self.taken);
            self.active.retain(|&a| {
                let is_over = lives[a as usize].end < life.start;
                if is_over {
                    taken.remove(lives[a as usize].place);
                }
                !is_over
            });
            let place = match self.free(&life) {
                Some(place) => place,
                None => self.evict(l, life),
            };
            self.lives[l as usize].place = place;
            if !matches!(place, Place::Spill(_)) {
                self.taken.add(place);
                self.active.push(l);
            }
        }
    }

    /// Whether a life is that of a parameter that the parent keeps where it is.
    fn is_kept(&self, life: &Life) -> bool {
        let fits = match life.origin {
            Place::Gpr(_) => life.class == Class::General,
            Place::Xmm(_) => life.class == Class::Float,
            Place::Spill(_) => true,
            _ => false,
        };
        fits && life.same && self.reserved.contains(&life.origin)
    }

    fn place_of(class: Class, register: u8) -> Place {
        match class {
            Class::General => Place::Gpr(register),
            Class::Float => Place::Xmm(register),
        }
    }

    /// A free register, the one hinted at if possible.
    fn free(&self, life: &Life) -> Option<Place> {
        let all = match life.class {
            Class::General => self.registers.general,
            Class::Float => self.registers.float,
        };
        let is_free = |place: Place| !self.taken.contains(place);
        let usable = |place: Place| {
            is_free(place) && all.iter().any(|&r| Scan::place_of(life.class, r) == place)
        };
        if usable(life.origin) {
            return Some(life.origin);
        }
        if let Some(hint) = life.hint {
            let place = self.lives[hint as usize].place;
            if usable(place) {
                return Some(place);
            }
        }
        // Registers in which a parameter arrives are its own, if possible.
        let mut candidates = all
            .iter()
            .map(|&r| Scan::place_of(life.class, r))
            .filter(|&p| is_free(p));
        let wanted = |p: &Place| life.start == 0 && self.origins.contains(*p);
        let first = candidates.clone().find(|p| !wanted(p));
        first.or_else(|| candidates.next())
    }

    /// Spills whatever is used least: then it is this life, or its register is free.
    fn evict(&mut self, l: u32, life: Life) -> Place {
        let worth = |life: &Life| life.uses as f64 / (life.end - life.start + 1) as f64;
        let same_class = self
            .active
            .iter()
            .copied()
            .filter(|&a| self.lives[a as usize].class == life.class);
        let least = same_class.min_by(|&a, &b| {
            worth(&self.lives[a as usize]).total_cmp(&worth(&self.lives[b as usize]))
        });
        match least {
            Some(victim) if worth(&self.lives[victim as usize]) < worth(&life) => {
                let place = self.lives[victim as usize].place;
                self.lives[victim as usize].place = Place::Spill(0);
                self.active.retain(|&a| a != victim && a != l);
                place
            }
            _ => Place::Spill(0),
        }
    }

    /// Gives the spilled lives their words.
    fn place_spills(&mut self) -> Result<(), TooManyValues> {
        let is_spilled = |life: &Life| {
            life.uses != NONE && matches!(life.place, Place::Spill(_)) && !self.is_kept(life)
        };
        let mut order: Vec<u32> = (0..self.lives.len() as u32)
            .filter(|&l| is_spilled(&self.lives[l as usize]))
            .collect();
        // Parameters that arrive in such a word first.
        let key = |l: &Life| (l.start, !matches!(l.origin, Place::Spill(_)));
        order.sort_by_key(|&l| key(&self.lives[l as usize]));
        // For each word the position from which it is free.
        let mut free_from: Vec<u32> = Vec::new();
        let word_of = |free_from: &mut Vec<u32>, word: u16| {
            let word = word as usize;
            free_from.resize(free_from.len().max(word + 1), 0);
            word
        };
        for place in self.reserved {
            if let Place::Spill(word) = *place {
                let word = word_of(&mut free_from, word);
                free_from[word] = u32::MAX;
            }
        }
        for l in order {
            let life = &mut self.lives[l as usize];
            let is_free = |&from: &u32| from <= life.start;
            let word = match life.origin {
                Place::Spill(word) if free_from.get(word as usize).is_none_or(is_free) => word,
                _ => {
                    let first = free_from.iter().position(is_free);
                    let word = first.unwrap_or(free_from.len());
                    if word >= self.registers.spills as usize {
                        return Err(TooManyValues);
                    }
                    word as u16
                }
            };
            let at = word_of(&mut free_from, word);
            free_from[at] = life.end + 1;
            life.place = Place::Spill(word);
        }
        Ok(())
    }
}

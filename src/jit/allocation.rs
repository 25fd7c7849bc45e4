//! Register allocation: a linear scan over the lifetimes of values.
//!
//! A value has one place for its whole life: a register, or a word of the frame (a *spill*). Micro-ops that need more than
//! that save and restore around themselves what they disturb. A value made before the loop and used in it lives to
//! the end of the loop. What a pass leaves for the next one shares the place of its `PHI` if that is not used any more when it is
//! made. Spilled is what is used least for its length, a use in the loop counting ten times.
//!
//! A node's inputs and the values of its snapshot may lie in the same registers as its outputs: lowering reads the ones, and leaves,
//! before it writes the others.
//!
//! Invariant, which [`checker`](super::checker) checks: no two values that are alive at the same time share a place.

use std::collections::HashMap;

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
    let mut scan = Scan {
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
            lives_of: vec![NONE; 2 * plan.sb.nodes.len()],
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
            for r in plan.used_by(node) {
                self.use_at(r, at);
            }
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
        let value = Plan::value(i, k);
        self.lives_of[value as usize] = self.lives.len() as u32;
        let class = plan.class(value);
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

    fn use_at(&mut self, r: Ref, at: usize) {
        let plan = self.plan;
        for part in plan.parts[r.index()] {
            let Part::Value(v) = part else { continue };
            let Some(life) = self.lives.get_mut(self.lives_of[v as usize] as usize) else {
                continue;
            };
            let maker = Plan::maker(v).0;
            let end = match plan.head() {
                Some(head) if maker < head && at > head => 2 * (plan.sb.nodes.len() as u32 - 1) + 1,
                _ => 2 * at as u32,
            };
            life.end = life.end.max(end);
            life.uses += if plan.head().is_some_and(|head| at > head) {
                10
            } else {
                1
            };
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
                let made_here = Plan::maker(v).0 > body;
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

struct Scan<'r> {
    lives: Vec<Life>,
    registers: Registers,
    reserved: &'r [Place],
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
            let lives = &self.lives;
            self.active.retain(|&a| lives[a as usize].end >= life.start);
            let place = match self.free(&life) {
                Some(place) => place,
                None => self.evict(l, life),
            };
            self.lives[l as usize].place = place;
            if !matches!(place, Place::Spill(_)) {
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
        let is_free = |place: Place| {
            !self.reserved.contains(&place)
                && self
                    .active
                    .iter()
                    .all(|&a| self.lives[a as usize].place != place)
        };
        let all = match life.class {
            Class::General => self.registers.general,
            Class::Float => self.registers.float,
        };
        let usable = |place: Place| {
            all.iter().any(|&r| Scan::place_of(life.class, r) == place) && is_free(place)
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
        let wanted = |p: &Place| life.start == 0 && self.lives.iter().any(|l| l.origin == *p);
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
        // For each word the end of the last life in it.
        let mut ends: HashMap<u16, u32> = HashMap::new();
        for place in self.reserved {
            if let Place::Spill(word) = place {
                ends.insert(*word, u32::MAX);
            }
        }
        for l in order {
            let life = &mut self.lives[l as usize];
            let free = |word: u16| ends.get(&word).is_none_or(|&end| end < life.start);
            let word = match life.origin {
                Place::Spill(word) if free(word) => word,
                _ => (0..self.registers.spills)
                    .find(|&word| free(word))
                    .ok_or(TooManyValues)?,
            };
            ends.insert(word, life.end);
            life.place = Place::Spill(word);
        }
        Ok(())
    }
}

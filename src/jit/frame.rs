//! The frame: what machine code and the runtime tell each other, and the words that values are spilled to.
//!
//! Every activation has one, which lies in the VM's memory, not on the native stack: side executors find the spilled
//! values of their parents where they are.

use super::allocation::Place;
use super::plan::Located;
use crate::runtime::coroutine::CallRecord;
use crate::runtime::value::{Tag, Value};
use crate::tier1::State;
use perilune_uops::Type;

/// Words for spilled values.
pub const SPILLS: usize = 1024;

/// See the module's documentation. Machine code reads and writes the fields at their offsets.
#[repr(C)]
pub struct Frame {
    pub state: *mut State,
    /// Slot 0.
    pub slots: *mut Value,
    /// As in the state: frames must end at or below this.
    pub limit: *mut Value,
    /// As in the state: the end of the stack of call records.
    pub records_end: *mut CallRecord,
    /// What a helper has made: payload and tag.
    pub output: [u64; 2],
    /// The exit at which control has left, and the code of which it is an exit; null if everything is in memory already.
    pub exit: u64,
    pub left: *const super::Info,
    pub spills: [u64; SPILLS],
    /// The inputs of a helper, payload and tag of each, and then its operands.
    pub args: [u64; 10],
    /// The registers when control left, or went to a helper that looks at them.
    pub gprs: [u64; 16],
    pub xmms: [u64; 16],
    /// The activation that it belongs to.
    pub activation: *mut super::run::Activation,
}

impl Frame {
    /// The word at a place.
    fn word(&self, place: Place) -> u64 {
        match place {
            Place::Gpr(r) => self.gprs[r as usize],
            Place::Xmm(x) => self.xmms[x as usize],
            Place::Spill(word) => self.spills[word as usize],
            Place::Const(bits) => bits,
            Place::None => 0,
        }
    }

    /// The value whose parts are at these places.
    pub fn value(&self, located: &Located) -> Value {
        let payload = self.word(located.places[0]);
        match located.ty {
            Type::Tagged => Value::new(payload, Tag::from_byte(self.word(located.places[1]) as u8)),
            Type::Bool => Value::bool(payload != 0),
            ty => Value::new(payload, Tag::from_byte(super::plan::tag_of(ty) as u8)),
        }
    }

    /// An input of a helper.
    pub fn arg(&self, k: usize) -> Value {
        Value::new(self.args[2 * k], Tag::from_byte(self.args[2 * k + 1] as u8))
    }

    /// An operand of a helper's micro-op.
    pub fn operand(&self, k: usize) -> u64 {
        self.args[6 + k]
    }
}

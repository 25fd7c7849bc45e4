//! Tags: where the loop carries a tagged value and is given one of known type, the tag is made explicit.
//!
//! Backends may take for granted that both values of a `PHI` have its type; only they need this pass, which is the last.

use perilune_uops::{MicroOp, Type};

use crate::tier2::superblock::{Node, Ref, Rewriter, Superblock};

/// The pass; see the module's documentation.
pub fn tag(old: &Superblock) -> Option<Superblock> {
    let looping = old.looping.as_ref()?;
    let untagged = |phi: Ref, value: Ref| old.type_of(phi) == Type::Tagged && old.type_of(value) != Type::Tagged;
    let has_type = |(phi, &back)| !untagged(phi, old.node(phi).inputs[0]) && !untagged(phi, back);
    if old.phis().zip(&looping.back).all(has_type) {
        return None;
    }
    let last = Ref(old.nodes.len() as u32 - 1);
    let mut rw = Rewriter::new(old);
    let mut inits: Vec<Ref> = Vec::new();
    let mut backs: Vec<(usize, Ref)> = Vec::new();
    for (r, node) in old.iter() {
        if r == looping.head {
            for phi in old.phis() {
                let init = old.node(phi).inputs[0];
                let name = rw.name(init);
                inits.push(if untagged(phi, init) { rw.add(Node::new(MicroOp::TAG, &[name], &[])) } else { name });
            }
        }
        if r == last {
            for (i, (phi, &back)) in old.phis().zip(&looping.back).enumerate() {
                if untagged(phi, back) {
                    let name = rw.name(back);
                    backs.push((i, rw.add(Node::new(MicroOp::TAG, &[name], &[]))));
                }
            }
        }
        if node.op == MicroOp::PHI {
            let i = (r.0 - looping.head.0 - 1) as usize;
            rw.emit(r, Node { inputs: [inits[i], Ref::NONE, Ref::NONE], ..*node });
        } else {
            rw.copy(r);
        }
    }
    let mut new = rw.finish();
    if let Some(looping) = &mut new.looping {
        backs.into_iter().for_each(|(i, r)| looping.back[i] = r);
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_values_of_a_phi_have_its_type() {
        let sb = Superblock::parse(
            "object o0: Proto 0x1000
             frame f0: o0 base 1 registers 4
             START
             v1 = CONST_INT 1
             v2 = LOAD [2]
             s0: pc 3 []
             LOOP entry s0
             v3 = PHI v1 back v5
             v4 = PHI v2 back v2
             s1: pc 4 [1=v3 2=v4]
             v5 = GUARD_INT v4 exit s1
             BACK",
        )
        .expect("a superblock");
        let tagged = tag(&sb).expect("a tag is missing");
        crate::tier2::verify::verify(&tagged).expect("the rules are kept");
        for (phi, back) in tagged.phis().zip(tagged.looping.as_ref().map_or(&[][..], |l| &l.back)) {
            assert_eq!(tagged.type_of(phi), tagged.type_of(*back));
            assert_eq!(tagged.type_of(phi), tagged.type_of(tagged.node(phi).inputs[0]));
        }
    }
}

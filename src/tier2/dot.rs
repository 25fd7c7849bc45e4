//! The graph of executors in the language of Graphviz, for people.

use std::fmt::{self, Display, Formatter};

use super::executor::{Anchor, Graph};
use super::place;

/// Shows a graph: executors as nodes, exits that have been taken or lead somewhere as edges.
pub struct Dot<'a>(pub &'a Graph);

impl Display for Dot<'_> {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        writeln!(f, "digraph executors {{")?;
        writeln!(f, "  node [shape=box, fontname=monospace];")?;
        writeln!(f, "  tier1 [label=\"tier 1\", shape=ellipse];")?;
        for e in self.0.executors() {
            let place = e.place.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            let shape = if matches!(e.anchor, Anchor::Site(_)) { ", style=bold" } else { "" };
            writeln!(
                f,
                "  e{} [label=\"{}: {}\\n{place} pc {}\\nentries {}, passes {}\\nmicro-ops {}\"{shape}];",
                e.number,
                e.number,
                place::kind(e),
                e.place.pc,
                e.counts().entries.get(),
                e.counts().passes.get(),
                e.superblock.nodes.len(),
            )?;
            for (id, exit) in e.exits.iter().enumerate() {
                let label = format!("exit {id}: {}", exit.taken.get());
                // SAFETY: a patched edge keeps its target alive.
                if let Some(target) = unsafe { exit.target.get().as_ref() } {
                    writeln!(f, "  e{} -> e{} [label=\"{label}\"];", e.number, target.number)?;
                } else if exit.taken.get() > 0 {
                    let temperature = exit.temperature.get();
                    let label = format!("{label}, {temperature} warm");
                    writeln!(f, "  e{} -> tier1 [label=\"{label}\", style=dashed];", e.number)?;
                }
            }
        }
        writeln!(f, "}}")
    }
}

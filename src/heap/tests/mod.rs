//! Tests of the heap: the allocator by itself, and the collector on graphs of real objects.

mod alloc;
mod graph;
mod faults;
mod objects;
mod slices;

# SPDX-License-Identifier: LGPL-3.0-or-later
"""The ownership tree against a model that is written as C's algorithm reads, recursion and all."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import talloc_py as t
from talloc_py._walk import check_invariants
from talloc_py.core import chunk_of


class Node:
    """A chunk of the model: an owner, children newest first, references to it newest first."""

    def __init__(self, key, owner):
        self.key = key
        self.owner = owner
        self.children = []
        self.refs = []
        self.answer = 0
        self.alive = True
        self.dying = False
        self.busy = False
        if owner is not None:
            owner.children.insert(0, self)


class Handle:
    """A reference of the model; its owner is who holds it."""

    def __init__(self, holder, target):
        self.owner = holder
        self.target = target
        if holder is not None:
            holder.children.insert(0, self)
        target.refs.insert(0, self)

    def drop(self):
        self.target.refs.remove(self)
        if self.owner is not None:
            self.owner.children.remove(self)


def above(node, presumed):
    for _ in range(10_000):
        if node is None:
            return False
        if node is presumed:
            return True
        node = node.owner
    return False


def move(node, owner):
    if owner is node or (owner is not None and owner.children[:1] == [node]):
        return
    if node.owner is not None:
        node.owner.children.remove(node)
    node.owner = owner
    if owner is not None:
        owner.children.insert(0, node)


def free(node, asked):
    """True: gone. False: refused, or taken over by a reference."""
    if node.refs:
        handle = node.refs[0]
        inside = above(handle, node)
        handle.drop()
        return free(node, asked) if inside else False
    if node.dying:
        return True
    asked.append(node.key)
    if node.answer == -1:
        return False
    owner = node.owner
    if owner is not None:
        first = owner.children[0] is node
        owner.children.remove(node)
        if not first:
            node.owner = None
    node.dying = True
    free_children(node, asked)
    node.alive = False
    return True


def free_children(node, asked):
    while node.children:
        child = node.children[0]
        if isinstance(child, Handle):
            child.drop()
            continue
        heir = child.refs[0].owner if child.refs else None
        if not free(child, asked) and child.owner is node:
            # In a loop of owners the child may be its own grandparent.  C never comes to an end then.
            grandparent = None if node.owner is child else node.owner
            move(child, heir if heir is not None else grandparent)


def unlink(owner, node, asked):
    for handle in node.refs:
        if handle.owner is owner:
            handle.drop()
            return 0
    if node.owner is not owner:
        return -1
    if not node.refs:
        return 0 if free(node, asked) else -1
    handle = node.refs[0]
    handle.drop()
    move(node, handle.owner)
    return 0


def talloc_free(node, asked):
    if node.refs:
        if node.owner is None and len(node.refs) == 1:
            return unlink(None, node, asked)
        return -1
    return 0 if free(node, asked) else -1


class TreeMachine(RuleBasedStateMachine):
    """Random trees with references and destructors that refuse."""

    def __init__(self):
        super().__init__()
        self.nodes = []
        self.chunks = []
        self.asked = []

    def pick(self, number):
        living = [node for node in self.nodes if node.alive]
        return living[number % len(living)]

    def chunk(self, node):
        return None if node is None else self.chunks[node.key]

    def destructor(self, ptr):
        key = next(key for key, chunk in enumerate(self.chunks) if chunk is ptr)
        self.asked.append(key)
        return self.nodes[key].answer

    def make(self, owner):
        node = Node(len(self.nodes), owner)
        chunk = t.talloc_named_const(self.chunk(owner), 0, str(node.key))
        t.talloc_set_destructor(chunk, self.destructor)
        self.nodes.append(node)
        self.chunks.append(chunk)

    @initialize()
    def two_roots(self):
        self.make(None)
        self.make(None)

    numbers = st.integers(0, 1000)

    @rule(number=numbers, top=st.booleans())
    def create(self, number, top):
        living = any(node.alive for node in self.nodes)
        self.make(None if top or not living else self.pick(number))

    def ready(self):
        if not any(node.alive for node in self.nodes):
            self.make(None)
        self.asked.clear()
        return []

    @rule(number=numbers, answer=st.sampled_from([0, -1]))
    def set_answer(self, number, answer):
        self.ready()
        self.pick(number).answer = answer

    @rule(holder=numbers, number=numbers, nobody=st.booleans())
    def reference(self, holder, number, nobody):
        self.ready()
        node, target = None if nobody else self.pick(holder), self.pick(number)
        Handle(node, target)
        assert t.talloc_reference(self.chunk(node), self.chunk(target)) is self.chunk(target)

    @rule(number=numbers)
    def free(self, number):
        asked = self.ready()
        node = self.pick(number)
        assert t.talloc_free(self.chunk(node)) == talloc_free(node, asked)
        assert self.asked == asked

    @rule(number=numbers)
    def free_children(self, number):
        asked = self.ready()
        node = self.pick(number)
        if any(above(node, child) for child in node.children):
            return  # In a loop the chunk itself may go, which C does not survive.
        if any(above(handle, child) for child in node.children if isinstance(child, Node) for handle in child.refs):
            return
        free_children(node, asked)
        t.talloc_free_children(self.chunk(node))
        assert self.asked == asked

    @rule(owner=numbers, number=numbers, nobody=st.booleans())
    def unlink(self, owner, number, nobody):
        asked = self.ready()
        holder, node = None if nobody else self.pick(owner), self.pick(number)
        assert t.talloc_unlink(self.chunk(holder), self.chunk(node)) == unlink(holder, node, asked)
        assert self.asked == asked

    @rule(number=numbers)
    def unlink_from_its_owner(self, number):
        asked = self.ready()
        node = self.pick(number)
        owner = node.owner
        assert t.talloc_unlink(self.chunk(owner), self.chunk(node)) == unlink(owner, node, asked)
        assert self.asked == asked

    @rule(owner=numbers, number=numbers, nobody=st.booleans())
    def steal(self, owner, number, nobody):
        self.ready()
        new, node = None if nobody else self.pick(owner), self.pick(number)
        move(node, new)
        assert t.talloc_steal(self.chunk(new), self.chunk(node)) is self.chunk(node)

    @rule(old=numbers, new=numbers, number=numbers)
    def reparent(self, old, new, number):
        self.ready()
        before, after, node = self.pick(old), self.pick(new), self.pick(number)
        moved = node if node.owner is before else next((h for h in node.refs if h.owner is before), None)
        if moved is not None:
            move(moved, after)
        result = t.talloc_reparent(self.chunk(before), self.chunk(after), self.chunk(node))
        assert result is (None if moved is None else self.chunk(node))

    @invariant()
    def same_tree(self):
        for node in self.nodes:
            chunk = self.chunks[node.key]
            header = chunk._talloc_chunk
            assert (header.obj is chunk) == node.alive
            if not node.alive:
                continue
            check_invariants(header)
            assert t.talloc_parent(chunk) is self.chunk(node.owner)
            assert t.talloc_reference_count(chunk) == len(node.refs)
            children = []
            child = chunk_of(chunk).child
            while child is not None:
                children.append(getattr(child, "target", child).obj)
                child = child.next
            expected = [self.chunk(c.target if isinstance(c, Handle) else c) for c in node.children]
            assert len(children) == len(expected)
            assert all(a is b for a, b in zip(children, expected, strict=True))


TestTree = TreeMachine.TestCase
TestTree.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

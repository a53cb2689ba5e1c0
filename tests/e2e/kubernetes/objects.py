"""YAML on standard input into a JSON list of its documents, read as Kubernetes reads it (YAML 1.1: 0440 is octal).
Judges nothing."""
import json
import sys

import yaml


class Strict(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        double = {key for key in keys if keys.count(key) > 1}
        if double:
            raise ValueError(f"{node.start_mark}: twice in one mapping: {double}")
        return super().construct_mapping(node, deep)


# Dates stay texts, as they do there.
Strict.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in Strict.yaml_implicit_resolvers.items()
}
json.dump([document for document in yaml.load_all(sys.stdin, Strict) if document is not None], sys.stdout)

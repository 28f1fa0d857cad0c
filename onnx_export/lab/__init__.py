"""A small hospital network in namespaces: real servers, clients and attack tools, recorded.

`python -m onnx_export.lab record --seed N --scenario NAME --out DIR` writes a
capture and its label rules. Nothing it sends can leave the namespaces it makes.
"""

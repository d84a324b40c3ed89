"""AdapterHub folders: what the ``adapters`` library writes, and reads with ``load_adapter``.

An adapter is ``adapter_config.json`` and ``adapter.safetensors``; a fusion is
``adapter_fusion_config.json`` and ``model_adapter_fusion.safetensors``. Older folders hold a pickle
(``.bin``) instead, which is read weights-only and never written. Tensors are named by the path of
their site, then ``adapters.NAME.``, ``loras.NAME.`` or ``adapter_fusion_layer.NAME,NAME.``; the
base model's prefix (``bert.``) before the path is optional in the library's adapters and needed in
its fusions. It is another one in models for some tasks, so that hubkit writes none in adapters.
"""

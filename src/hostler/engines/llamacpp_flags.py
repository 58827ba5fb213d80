"""The flags of the built-in llama.cpp engine: llama-server's spellings and what each sets in CommonParams.

One table, readable and testable where xllamacpp is not installed. A flag is here only if CommonParams can
carry it out; anything else is an error, because an ignored flag is a surprise later.
"""

from __future__ import annotations

from typing import Final

from hostler.engines import llamacpp_setters as do
from hostler.engines.flags import (
    Group,
    choice,
    comma_list,
    file_text,
    json_object,
    number,
    one_of,
    pair,
    real,
    special,
    switch,
    text,
    to,
    whole,
)

DEFAULT_PORT: Final = 8080  # llama-server's
LOUDEST: Final = 1000  # above every level llama.cpp knows
SILENT: Final = -1  # below every level

HELP: Final = special("-h --help --usage", None, "Print this and leave.")
VERSION: Final = special("--version", None, "Print which llama.cpp this is and leave.")
MODEL: Final = text("-m --model", "model.path", "The GGUF file; of a split model, the first part.", "FILE")

GENERAL: Final = Group(
    "General",
    (
        HELP,
        VERSION,
        switch("-v --verbose --log-verbose", "verbosity", "Log everything there is.", value=LOUDEST),
        number("-lv --verbosity --log-verbosity", "verbosity", "How much to log; 3 is usual."),
        switch("--log-disable", "verbosity", "Log nothing.", value=SILENT),
    ),
)

FILES: Final = Group(
    "Model files",
    (
        MODEL,
        special(
            "-a --alias",
            to("model_alias"),
            "Names the model goes by in answers, between commas; usually the name of its file.",
            comma_list,
            metavar="NAMES",
        ),
        text("--tags", "model_tags", "Words shown with the model.", "WORDS", comma_list),
        text("-mm --mmproj", "mmproj.path", "The projector for images and sound.", "FILE"),
        switch("--no-mmproj", "no_mmproj", "Do without a projector."),
        *pair("--mmproj-offload", "mmproj_use_gpu", "Keep the projector on the GPU."),
        number("--image-min-tokens", "image_min_tokens", "Fewest tokens an image may take."),
        number("--image-max-tokens", "image_max_tokens", "Most tokens an image may take."),
        text("--media-path", "media_path", "Where file:// addresses may read from.", "DIR"),
        special("--lora", do.lora, "A LoRA adapter; may be repeated.", do.adapters, metavar="FILES"),
        special(
            "--lora-scaled",
            do.lora,
            "A LoRA adapter and its weight.",
            do.scaled_adapters,
            metavar="FILE:SCALE",
        ),
        switch("--lora-init-without-apply", "lora_init_without_apply", "Load adapters at weight 0."),
        special("--mlock", do.load_mode(locked=True, mapped=None), "Keep the model in memory, out of swap."),
        special("--mmap", do.load_mode(locked=None, mapped=True), "Map the file into memory."),
        special("--no-mmap", do.load_mode(locked=None, mapped=False), "Read the file instead of mapping it."),
        special("-dio --direct-io", do.direct_io, "Read the file past the page cache."),
        switch("--check-tensors", "check_tensors", "Look for broken values while loading."),
        *pair("--warmup", "warmup", "Run the model once, empty, before it is ready."),
    ),
)

CONTEXT: Final = Group(
    "Context and batches",
    (
        number("-c --ctx-size", "n_ctx", "Tokens of context in all; 0 takes the model's own."),
        number("-n --predict --n-predict", "n_predict", "Longest answer; -1 is without limit."),
        number("-b --batch-size", "n_batch", "Most tokens handed over at once."),
        number("-ub --ubatch-size", "n_ubatch", "Most tokens computed at once."),
        number("--keep", "n_keep", "Tokens of the prompt kept when the context is shifted; -1 is all."),
        number("-np --parallel", "n_parallel", "Requests answered at a time; -1 chooses."),
        *pair("-cb --cont-batching", "cont_batching", "Let requests join a running batch."),
        *pair("--context-shift", "ctx_shift", "Drop the oldest tokens when the context is full."),
        *pair("-kvu --kv-unified", "kv_unified", "One cache for all requests."),
        switch("--swa-full", "swa_full", "Keep the whole cache of sliding-window layers."),
        number("--cache-reuse", "n_cache_reuse", "Shortest piece of cache worth moving; 0 is never."),
        *pair("--cache-prompt", "cache_prompt", "Keep the cache of a prompt for the next."),
        number("-cram --cache-ram", "cache_ram_mib", "MiB for kept prompts; -1 is without limit."),
        *pair("--cache-idle-slots", "cache_idle_slots", "Move idle requests' cache to memory."),
        number("-ctxcp --ctx-checkpoints", "n_ctx_checkpoints", "Checkpoints kept per request."),
        number("-sps --slot-prompt-similarity", "slot_prompt_similarity", "How alike prompts must be.", real),
        choice("-ctk --cache-type-k", "cache_type_k", "How the keys of the cache are kept.", do.CACHE_TYPES),
        choice("-ctv --cache-type-v", "cache_type_v", "How its values are kept.", do.CACHE_TYPES),
        special(
            "-fa --flash-attn",
            do.flash,
            "Flash attention; alone it means on.",
            one_of(do.FLASH.members),
            metavar="on|off|auto",
            implied="on",
            bare=tuple(do.FLASH.members),
        ),
        choice("--rope-scaling", "rope_scaling_type", "How positions are stretched.", do.ROPE),
        text("--rope-scale", "rope_freq_scale", "Stretch by this factor.", "X", do.slower),
        number("--rope-freq-base", "rope_freq_base", "Base frequency.", real),
        number("--rope-freq-scale", "rope_freq_scale", "Frequencies times this.", real),
        number("--yarn-orig-ctx", "yarn_orig_ctx", "Context the model was trained for."),
        number("--yarn-ext-factor", "yarn_ext_factor", "How far to extrapolate.", real),
        number("--yarn-attn-factor", "yarn_attn_factor", "Factor on attention.", real),
        number("--yarn-beta-slow", "yarn_beta_slow", "Where high frequencies end.", real),
        number("--yarn-beta-fast", "yarn_beta_fast", "Where low frequencies begin.", real),
        number("-gan --grp-attn-n", "grp_attn_n", "Group factor of self-extend."),
        number("-gaw --grp-attn-w", "grp_attn_w", "Group width of self-extend."),
    ),
)

COMPUTE: Final = Group(
    "Processors and memory",
    (
        number("-t --threads", "cpuparams.n_threads", "Threads; usually the cores it may use."),
        number("-tb --threads-batch", "cpuparams_batch.n_threads", "Threads for prompts."),
        number("--poll", "cpuparams.poll", "How eagerly threads wait, 0 to 100."),
        choice("--prio", "cpuparams.priority", "How urgent its threads are.", do.PRIORITY),
        choice("--numa", "numa", "How to use several nodes.", do.NUMA),
        special(
            "-ngl --gpu-layers --n-gpu-layers",
            to("n_gpu_layers"),
            "Layers on the GPU.",
            do.layers,
            metavar="N|auto|all",
        ),
        choice("-sm --split-mode", "split_mode", "What is split over several GPUs.", do.SPLIT),
        special("-ts --tensor-split", do.tensor_split, "Share of each GPU.", do.shares, metavar="X,X,…"),
        number("-mg --main-gpu", "main_gpu", "The GPU that does what is not split."),
        switch("-nkvo --no-kv-offload", "no_kv_offload", "Keep the cache off the GPU."),
        switch("-kvo --kv-offload", "no_kv_offload", "Keep the cache on the GPU.", value=False),
        switch("--no-op-offload", "no_op_offload", "Keep the host's operations on the host."),
        switch("--op-offload", "no_op_offload", "The opposite.", value=False),
        switch("-nr --no-repack", "no_extra_bufts", "Leave weights in the file's layout."),
        switch("--repack", "no_extra_bufts", "The opposite.", value=False),
        switch("--no-host", "no_host", "Use no host buffers."),
        special("-ot --override-tensor", do.overrides, "Where tensors go.", str, metavar="PATTERN=BUFFER,…"),
        special("-cmoe --cpu-moe", do.overrides, "Experts on the CPU.", implied=f"{do.EXPERTS}=CPU"),
        special(
            "-ncmoe --n-cpu-moe", do.experts_on_cpu, "Experts of N layers on the CPU.", whole, metavar="N"
        ),
        text("-fit --fit", "fit_params", "Fit to free memory.", "on|off", do.on_off),
        special("-fitt --fit-target", do.spare_memory, "MiB to leave free.", do.mebibytes, metavar="MIB,…"),
        number("-fitc --fit-ctx", "fit_params_min_ctx", "Smallest context fitting may choose."),
    ),
)

SERVER: Final = Group(
    "Server",
    (
        special("--host", do.host, "Address to listen on, or a path ending in .sock.", str, metavar="HOST"),
        number("--port", "port", f"Port to listen on; usually {DEFAULT_PORT}.", do.port),
        switch("--reuse-port", "reuse_port", "Let several processes listen on the port."),
        text("--path", "public_path", "Files to serve besides the API.", "DIR"),
        text("--api-prefix", "api_prefix", "What every path begins with.", "PATH"),
        special("--api-key", do.add_to("api_keys"), "Keys, between commas.", comma_list, metavar="KEYS"),
        special("--api-key-file", do.add_to("api_keys"), "Keys, one a line.", do.key_file, metavar="FILE"),
        text("--ssl-key-file", "ssl_file_key", "Private key for TLS.", "FILE"),
        text("--ssl-cert-file", "ssl_file_cert", "Certificate for TLS.", "FILE"),
        special("-to --timeout", do.timeout, "Seconds a read or write may take.", whole, metavar="N"),
        number("--threads-http", "n_threads_http", "Threads that answer HTTP."),
        switch("--metrics", "endpoint_metrics", "Serve /metrics."),
        switch("--props", "endpoint_props", "Let POST /props change settings."),
        *pair("--slots", "endpoint_slots", "Serve /slots."),
        text("--slot-save-path", "slot_save_path", "Where slots may be saved.", "DIR"),
        switch("--webui --ui", "ui", "Serve the web page."),
        switch("--no-webui --no-ui", "ui", "The opposite.", value=False),
        switch("--embedding --embeddings", "embedding", "Answer with embeddings."),
        special("--rerank --reranking", do.reranking, "Answer with the ranks of documents."),
        choice("--pooling", "pooling_type", "How one embedding is made of many.", do.POOLING),
        number("--embd-normalize", "embd_normalize", "How embeddings are normalised; -1 is not."),
        number("--sleep-idle-seconds", "sleep_idle_seconds", "Idle time after which it sleeps."),
    ),
)

CHAT: Final = Group(
    "Chat",
    (
        *pair("--jinja", "use_jinja", "Use the Jinja engine for templates."),
        text("--chat-template", "chat_template", "A template, or the name of a known one."),
        text("--chat-template-file", "chat_template", "A template in a file.", "FILE", file_text),
        special(
            "--chat-template-kwargs",
            do.template_kwargs,
            "For the template.",
            json_object,
            metavar="JSON",
        ),
        choice("--reasoning-format", "reasoning_format", "Where thoughts go.", do.REASONING),
        text("-rea --reasoning", "enable_reasoning", "Whether it thinks first.", "on|off|auto", do.yes_no),
        number("--reasoning-budget", "sampling.reasoning_budget_tokens", "Tokens of thought; -1 is any."),
        text("--reasoning-budget-message", "sampling.reasoning_budget_message", "Said when it is spent."),
        *pair("--prefill-assistant", "prefill_assistant", "Go on from a last assistant message."),
        switch("--skip-chat-parsing", "force_pure_content_parser", "Hand out the answer as it is."),
        switch("-sp --special", "special", "Show control tokens."),
    ),
)

SAMPLING: Final = Group(
    "Sampling, unless a request says otherwise",
    (
        number("-s --seed", "sampling.seed", "Seed of the sampler; -1 is any.", do.seed),
        do.marked("--samplers", "samplers", "SAMPLERS", "Names and order, with ';'.", str),
        do.marked("--temp --temperature", "temp", "TEMP", "Temperature."),
        do.marked("--top-k", "top_k", "TOP_K", "Only the K likeliest; 0 is all.", whole),
        do.marked("--top-p", "top_p", "TOP_P", "Only the likeliest up to this sum."),
        do.marked("--min-p", "min_p", "MIN_P", "Only those this likely beside the first."),
        do.marked("--xtc-probability", "xtc_probability", "XTC_PROBABILITY", "Chance of XTC."),
        do.marked("--xtc-threshold", "xtc_threshold", "XTC_THRESHOLD", "Threshold of XTC."),
        number("--typical --typical-p", "sampling.typ_p", "Locally typical sampling.", real),
        do.marked(
            "--repeat-last-n", "penalty_last_n", "PENALTY_LAST_N", "Tokens --repeat-penalty looks at.", whole
        ),
        do.marked("--repeat-penalty", "penalty_repeat", "PENALTY_REPEAT", "Against repetition."),
        number("--presence-penalty", "sampling.penalty_present", "Against words used at all.", real),
        number("--frequency-penalty", "sampling.penalty_freq", "The same for each time.", real),
        number("--dry-multiplier", "sampling.dry_multiplier", "Weight of DRY.", real),
        number("--dry-base", "sampling.dry_base", "Base of DRY.", real),
        number("--dry-allowed-length", "sampling.dry_allowed_length", "Repetition DRY lets pass."),
        number("--dry-penalty-last-n", "sampling.dry_penalty_last_n", "Tokens DRY looks at."),
        number("--dynatemp-range", "sampling.dynatemp_range", "Range around --temp.", real),
        number("--dynatemp-exp", "sampling.dynatemp_exponent", "Exponent of that range.", real),
        do.marked("--mirostat", "mirostat", "MIROSTAT", "Mirostat sampling: 0, 1 or 2.", whole),
        do.marked("--mirostat-lr", "mirostat_eta", "MIROSTAT_ETA", "Learning rate of mirostat."),
        do.marked("--mirostat-ent", "mirostat_tau", "MIROSTAT_TAU", "Entropy mirostat aims at."),
        switch("--ignore-eos", "sampling.ignore_eos", "Go on at the end of an answer."),
        special("--grammar", do.grammar, "A GBNF grammar for every answer.", str, metavar="TEXT"),
        special("--grammar-file", do.grammar, "The same in a file.", file_text, metavar="FILE"),
        special(
            "-j --json-schema", do.json_schema, "A schema for every answer.", json_object, metavar="JSON"
        ),
        switch("-bs --backend-sampling", "sampling.backend_sampling", "Sample on the device."),
    ),
)

DRAFT: Final = Group(
    "Speculative decoding",
    (
        special("-md --model-draft", do.draft_model, "The draft model.", str, metavar="FILE"),
        special(
            "--spec-type", do.drafting, "Ways to draft, between commas.", do.drafting_words, metavar="WORDS"
        ),
        number("--draft --draft-n --draft-max", "speculative.draft.n_max", "Most tokens drafted."),
        number("--draft-min --draft-n-min", "speculative.draft.n_min", "Fewest worth drafting."),
        number("--draft-p-min", "speculative.draft.p_min", "Least likelihood drafted.", real),
        special(
            "-ngld --gpu-layers-draft --n-gpu-layers-draft",
            to("speculative.draft.n_gpu_layers"),
            "Layers of the draft model on the GPU.",
            do.layers,
            metavar="N|auto|all",
        ),
        text("-devd --device-draft", "speculative.draft.devices", "Devices of the draft model.", "NAMES"),
        number("-td --threads-draft", "speculative.draft.cpuparams.n_threads", "Threads of the draft model."),
    ),
)
TABLE: Final = (GENERAL, FILES, CONTEXT, COMPUTE, SERVER, CHAT, SAMPLING, DRAFT)
USAGE: Final = "usage: python -m hostler.engines.llamacpp -m FILE [--host HOST] [--port PORT] [flag …]"

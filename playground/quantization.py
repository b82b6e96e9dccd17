import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Quantization playground")

with app.setup(hide_code=True):
    import gc
    import html
    import math
    import threading
    import time
    from contextlib import nullcontext, suppress
    from dataclasses import replace
    from functools import partial
    from pathlib import Path

    import marimo as mo

    from playground.utils import exports, figures, tables
    from playground.utils.parameter_inspector import (
        METRICS,
        WorkCancelledError,
        compare_folder,
        count_codes,
        find_networks,
        identify_file,
        identify_folder,
        layer_names,
        open_folder,
        summarize_variant,
    )
    from playground.utils.parameter_inspector.changing import trials
    from playground.utils.parameter_inspector.changing.planning import (
        choose,
        list_options,
        listed_options,
    )
    from playground.utils.parameter_inspector.changing.rewriting import (
        can_measure,
        create_change,
        create_changes,
        measure_changes,
        write_changed_model,
    )
    from playground.utils.parameter_inspector.judging.rules import find_problems

    KINDS = {"error": "danger", "warning": "warn", "note": "info", "": "success"}
    RANKED_ON_A_PAGE = 50
    PER_CHANNEL = "onnxruntime, a scale for each channel"

    LARGE_WEIGHT = 4_000_000


@app.cell(hide_code=True)
def introduce():
    mo.md(f"""
    <style>{figures.panels.PAGE_STYLE}</style>

    # Quantization playground

    A **quantized** network stores its weights as small integers, the **codes**, and computes with
    their **values**: `value = (code − zero-point) × scale`. This page lays each quantized
    **variant** of a network beside its float original and shows what became of every layer.
    """)
    return


@app.function(hide_code=True)
def say(sentences, kind="info"):
    """Return a callout of plain text, None if there is nothing to say."""
    text = "".join(f"<div>{html.escape(sentence, quote=True)}</div>" for sentence in sentences)
    return mo.callout(mo.Html(text), kind=kind) if sentences else None


@app.function(hide_code=True)
def stack(parts):
    """Return what there is of the parts, one below the other; None if there is nothing."""
    shown = [part for part in parts if part is not None]
    return mo.vstack(shown) if len(shown) > 1 else next(iter(shown), None)


@app.function(hide_code=True)
def kind_of(findings):
    """Return the kind of callout that the worst of the findings deserves."""
    return KINDS[tables.finding_tables.worst_severity(findings)]


@app.function(hide_code=True)
def show_findings(findings):
    """Return a callout for each finding: what, where, the evidence, and the remedy."""
    return [
        mo.callout(
            mo.Html(tables.text.to_callout(tables.finding_tables.explain_finding(one))),
            KINDS[one.severity],
        )
        for one in findings
    ]


@app.function(hide_code=True)
def render_layer_errors(comparison, layer, colors, log):
    """Return the error histograms of a layer, without a chart where none can be read."""
    with spin_if_many("Comparing", count_elements(comparison, layer)):
        errors, problems = tables.count_tables.compute_layer_errors(comparison, layer)
        if not errors:
            return figures.style.Picture(b"", "", tuple(problems))
        picture = figures.weight_charts.render_errors(errors, colors, log=log, about=layer)
    return replace(picture, notes=tuple(problems))


@app.function(hide_code=True)
def write_exclusion(tool, variants, pairings, layers, ranked):
    """Return the text to paste: the ticked layers as ``tool`` names them."""
    if tool == PER_CHANNEL:
        variant = next((one.variant for one in ranked), next(iter(variants)))
        return exports.quantize_per_channel_in_onnxruntime(variants, pairings, layers, variant)
    return exports.EXCLUSIONS[tool](exports.create_exclusion(variants, pairings, layers))


@app.function(hide_code=True)
def offer(network, files):
    """Return a button for each file, which is made when it is clicked: name -> who writes it."""
    buttons = [
        mo.download(
            lambda write=write: write().encode(),
            f"{tables.text.name_file(network)}-{name}",
            "text/csv" if name.endswith(".csv") else "application/json",
            label=name,
        )
        for name, write in files.items()
    ]
    return mo.hstack(buttons, justify="start", wrap=True)


@app.function(hide_code=True)
def remember_selection(names, variants):
    """Return the getters of the selected layer and variant, their one setter, and the link's wish.

    The setter is for every control; it writes the address too. The first of ``names`` is selected
    unless the link says otherwise, and no variant before one is chosen.
    """
    query = mo.query_params()
    asked = query.get("layer"), tables.text.match_name(query.get("variant"), variants)
    # Their controls are in cells that read them.
    hold = partial(mo.state, allow_self_loops=True)
    get_layer, set_layer = hold(asked[0] if asked[0] in names else names[0])
    get_variant, set_variant = hold(asked[1] if asked[1] in variants else None)

    def select(name, variant=None):
        for key, value, get, put in (
            ("layer", name, get_layer, set_layer),
            ("variant", variant, get_variant, set_variant),
        ):
            if value is not None and value != get():
                query.set(key, value)
                put(value)

    return get_layer, get_variant, select, asked


@app.function(hide_code=True)
def open_network(name):
    """Write another network into the address, without what was selected in the one before."""
    gc.unfreeze()  # what `settle` froze can go with the network
    query = mo.query_params()
    query.remove("layer")
    query.remove("variant")
    query.set("model", name)


@app.function(hide_code=True)
def takes_long(summaries):
    """Whether it takes longer than half a second to measure the weights."""
    return sum(2e-3 * one.weight_layer_count + 4e-9 * one.weight_count for one in summaries) > 0.5


@app.function(hide_code=True)
def start_measuring(folder, set_measured, set_progress):
    """Measure and judge a folder beside the page, and then call ``set_measured(True)``."""
    # The names of a page end before its threads do.
    measure, judge = compare_folder, find_problems
    without, cancellation = suppress, WorkCancelledError

    def work(progress, cancelled):
        with without(cancellation):
            try:
                judge(folder.variants, measure(folder, progress, cancelled))
            finally:
                # Where that failed, the page tries again and shows why.
                if not cancelled():
                    set_measured(True)

    start_beside(work, set_progress)


@app.function(hide_code=True)
def watch_folder(folder, opened, tell):
    """Call ``tell(True)`` once the models of the folder are no longer those that were opened.

    Looks once a second while there is a page to tell; as a script there is none.
    """

    # marimo ends a viewer's own thread with the page, but not what that thread started; the names
    # of a page end before its threads do.
    viewer, thread_of, sleep = threading.current_thread(), mo.current_thread, time.sleep
    identify, may_fail, unfreeze = identify_folder, suppress, gc.unfreeze

    def look():
        changed = False
        while viewer.is_alive() and not (changed or thread_of().should_exit):
            sleep(1)
            # Between the listing and the look at a file it may go: the next round sees that.
            with may_fail(OSError):
                changed = identify(folder) != opened
        if changed:
            tell(True)
        unfreeze()  # what `settle` froze can go with the page

    if mo.app_meta().mode in ("edit", "run"):
        mo.Thread(target=look, daemon=True).start()


@app.function(hide_code=True)
def settle():
    """Collect garbage now, and never look through what remains until a page ends or opens another.

    While Python looks through all that there is, every viewer waits: half a second with two dozen
    of them, more than anything else that a switch of the layer may wait for.
    """
    if mo.app_meta().mode == "run":
        gc.collect()
        gc.freeze()


@app.function(hide_code=True)
def show_summary(summary, original):
    """Return what one variant is, as a card."""
    return mo.stat(
        tables.text.format_bytes(summary.file_bytes),
        label=summary.name,
        caption=tables.overview.describe_variant(summary, original),
        bordered=True,
    )


@app.function(hide_code=True)
def show_clickable(table, choose_row):
    """Return a ranking that is made once; a click anywhere calls ``choose_row`` with the row."""
    return mo.ui.table(
        table,
        selection="single-cell",
        on_change=lambda cells: [choose_row(int(cell.row)) for cell in cells],
        style_cell=figures.panels.style_row,
        format_mapping=tables.ranking.format_ranking(table),
        header_tooltip=tables.ranking.explain_ranking(table),
        freeze_columns_left=["layer"],
        column_widths=tables.ranking.size_columns(table),
        wrapped_columns=["finding"],
        hover_template="{{layer}}",
        # marimo asks for the style of each cell of a page, one by one: some 0.3 ms each.
        pagination=len(table) > RANKED_ON_A_PAGE,
        page_size=RANKED_ON_A_PAGE,
        max_height=420,
        show_column_summaries=False,
        show_data_types=False,
    )


@app.function(hide_code=True)
def render_weights(comparison, layer, log):
    """Return the histograms of a layer's weights, without a chart where none can be read."""
    with spin_if_many("Counting", count_elements(comparison, layer)):
        histograms, problems = tables.count_tables.count_weights(comparison, layer)
        if histograms is None:
            return figures.style.Picture(b"", "", tuple(problems))
        picture = figures.weight_charts.render_histograms(histograms, log=log, about=layer)
    return replace(picture, notes=tuple(problems))


@app.function(hide_code=True)
def count_elements(comparison, layer):
    """Return how many weights a layer has in all variants together."""
    return sum(math.prod(one.weight.shape) for one in comparison.by_variant(layer).values())


@app.function(hide_code=True)
def spin_if_many(text, count):
    """Return a spinner for what takes longer than half a second, else nothing."""
    title = f"{text} {count:,} weights"
    return mo.status.spinner(title, remove_on_exit=True) if count > LARGE_WEIGHT else nullcontext()


@app.function(hide_code=True)
def show_picture(picture, explanation=None, otherwise=""):
    """Return a chart with its text alternative and its notes, a sentence where there is none."""
    if not picture.png:
        return say(picture.notes or [otherwise])
    chart = mo.Html(figures.panels.frame_picture(picture))
    return stack([explanation, chart, say(picture.notes, "warn")])


@app.function(hide_code=True)
def explain_parts():
    """Return the texts above the parts of a layer's sections, rendered once for all layers."""
    texts = {
        "weights": """
            **The weights**: how often each value occurs in the whole layer, over the same bins
            for every variant. Gaps and spikes are steps of a scale that is too coarse for the
            weights between them.
        """,
        "channels": """
            **The channels**: the range of each output channel as a bar, the float range as a
            line, and above them the channel's SQNR. ▼ marks the worst. One scale for all
            channels fits the widest bar; what is much lower is rounded away.
        """,
        "codes": """
            **The codes**: how often each integer occurs. The **rails** are the lowest and the
            highest code. The largest weight of each scale sits there; many more than that were
            cut off.
        """,
        "errors": """
            **The errors**: float weight minus value, in steps of the scale. Rounding stays
            within half a step (dashed); what lies beyond was cut off, or is not this weight.
        """,
        "candidates": """
            **The candidates**: the schemes worth trying for this weight, the best worst channel
            first.
        """,
        "truth": """
            **The truth**: a prediction is worth checking. The scheme of the controls, once one is
            changed, written into a model with nothing else changed, to download or to run beside
            float and today.
        """,
    }
    return {name: mo.md(text) for name, text in texts.items()}


@app.function(hide_code=True)
def show_table(table):
    """Return a table for the page, its names as plain text."""
    return mo.Html(tables.text.to_html(table))


@app.function(hide_code=True)
def show_details(title, table):
    """Return a table that is closed until it is asked for."""
    return mo.Html(tables.text.to_details(title, table))


@app.function(hide_code=True)
def show_code(text, label):
    """Return a text to copy, which the keyboard reaches."""
    return mo.Html(tables.text.to_code(text, label))


@app.function(hide_code=True)
def explain_refusal(compute):
    """Return what ``compute`` returns, or None and the sentence why there is nothing."""
    try:
        return compute(), ""
    except ValueError as error:
        return None, tables.trial_tables.capitalize(f"{error}.")


@app.function(hide_code=True)
def open_weight(files, comparison, variant, layer):
    """Return the weight of a layer to try schemes on, or None and why there is none.

    Very large weights are read each time, so that what viewers share stays bounded.
    """
    size = math.prod(comparison.measured(layer, variant).weight.shape)
    read = partial(trials.open_weight, comparison, variant, layer)
    shared = partial(trials.opened.get, (files, variant, layer), read)
    with spin_if_many("Reading", size):
        return explain_refusal(read if size > LARGE_WEIGHT else shared)


@app.function(hide_code=True)
def attempt_scheme(files, variant, on_trial, scheme):
    """Return what a scheme would make of a weight beside today, or None and why it cannot."""
    key = files, variant, on_trial.layer_name, scheme
    with spin_if_many("Quantizing", on_trial.exact.size):
        return explain_refusal(lambda: trials.attempts.get(key, lambda: on_trial.attempt(scheme)))


@app.function(hide_code=True)
def list_candidates(files, variant, on_trial):
    """Return the schemes worth trying, or None and why."""
    key = files, variant, on_trial.layer_name
    with spin_if_many("Trying the candidates on", on_trial.exact.size):
        return explain_refusal(lambda: trials.candidates.get(key, on_trial.list_candidates))


@app.function(hide_code=True)
def create_layer_control(options, chosen, select):
    """Return the control of the layer; ``options`` is label -> name."""
    return mo.ui.dropdown(
        options,
        value=next(label for label, name in options.items() if name == chosen),
        label="Layer",
        searchable=True,
        full_width=True,
        allow_select_none=False,
        on_change=select,
    )


@app.function(hide_code=True)
def create_variant_control(names, chosen, select):
    """Return the control of the variant on trial."""
    return mo.ui.dropdown(
        names,
        value=chosen,
        label="Variant",
        full_width=True,
        allow_select_none=False,
        on_change=select,
    )


@app.function(hide_code=True)
def create_controls(scheme, on_trial, set_scheme):
    """Return a control for each part of a scheme, and one that undoes all."""
    controls = []
    for part, (label, _) in tables.trial_tables.CONTROLS.items():
        options = tables.trial_tables.create_control_options(scheme, part, on_trial)
        values = {value: name for name, value in options.items()}
        control = mo.ui.dropdown(
            options,
            value=values[getattr(scheme, part)],
            label=label,
            allow_select_none=False,
            full_width=True,
            disabled=len(options) == 1,
            on_change=lambda value, part=part: set_scheme(
                trials.change_scheme(scheme, part, value)
            ),
        )
        controls.append(control)
    undo = mo.ui.button(
        label="Back to today",
        disabled=scheme == on_trial.scheme,
        on_change=lambda _: set_scheme(on_trial.scheme),
    )
    return [*controls, undo]


@app.function(hide_code=True)
def show_controls(controls):
    """Return controls in a grid."""
    grid = "".join(control.text for control in controls)
    return mo.Html(f'<div class="playground-controls">{grid}</div>')


@app.function(hide_code=True)
def show_trial_numbers(trial):
    """Return today beside what is tried, and a warning where that cannot be used."""
    table = show_table(tables.trial_tables.create_trial_table(trial))
    why = tables.trial_tables.explain_trial(trial)
    return stack([table, say(why, "warn")])


@app.function(hide_code=True)
def show_candidates(table):
    """Return the candidates as a table of which one row can be selected; the best is."""
    return mo.ui.table(
        # A frame takes marimo four times as long; without a row only it has columns.
        table.to_dict("records") if len(table) else table,
        selection="single",
        initial_selection=[0] if len(table) else None,
        format_mapping={"bytes": "{:,d}"},
        column_widths=tables.trial_tables.CANDIDATE_WIDTHS,
        wrapped_columns=["scheme", "runs in onnxruntime"],
        pagination=False,
        max_height=320,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        show_search=False,
        label="Candidates",
    )


@app.function(hide_code=True)
def create_apply_button(scheme, set_scheme):
    """Return the button that puts the scheme of a selected row into the controls."""
    return mo.ui.button(
        label=f"Put {scheme} into the controls" if scheme else "Select a row to try it",
        disabled=scheme is None,
        on_change=lambda _: set_scheme(scheme),
    )


@app.function(hide_code=True)
def create_plan_button(get_run, set_run):
    """Return the button that starts the search, or stops the one that runs."""
    run = get_run()
    if isinstance(run, threading.Event):
        return mo.ui.button(label="Stop", kind="danger", on_change=lambda _: run.set())
    label = "Try every layer" if run is None else "Try every layer again"
    return mo.ui.button(label=label, on_change=lambda _: set_run(threading.Event()))


@app.function(hide_code=True)
def start_beside(work, set_progress):
    """Call ``work(progress, cancelled)`` in a thread, so that the page goes on meanwhile.

    It is cancelled with the page, and when the cell that started it runs again.
    """
    viewer, said = threading.current_thread(), [0.0]
    # The names of a page end before its threads do.
    thread_of, now = mo.current_thread, time.monotonic

    def cancelled():
        return not viewer.is_alive() or thread_of().should_exit

    def progress(done, total, layer):
        if now() - said[0] > 0.3 and not cancelled():
            said[0] = now()
            set_progress((done, total, layer))

    mo.Thread(target=lambda: work(progress, cancelled), daemon=True).start()


@app.function(hide_code=True)
def start_search(key, search, run, set_run, set_progress):
    """Call ``search(progress, cancelled)`` beside the page; ``set_run`` gets what came of it.

    That is its result, or a sentence. It ends early when ``run`` is set.
    """
    capitalize, kept = tables.trial_tables.capitalize, listed_options
    ends = WorkCancelledError, ValueError, OSError, MemoryError

    def work(progress, cancelled):
        set_progress((0, 1, ""))
        try:
            found = kept.get(key, lambda: search(progress, lambda: run.is_set() or cancelled()))
        except ends as ended:
            found = capitalize(f"{str(ended) or 'there is not enough memory'}.")
        set_run(found)

    start_beside(work, set_progress)


@app.function(hide_code=True)
def create_target(kind, plan):
    """Return the slider for a target: whole decibels, or the sizes that make a difference."""
    if kind == "target_sqnr_db":
        low, high, between = tables.trial_tables.list_sqnr_targets(plan.curve)
        label = "at least, in dB"
        return mo.ui.slider(low, high, 1, between, label=label, include_input=True, full_width=True)
    sizes = tables.trial_tables.list_size_targets(plan)
    label = "at most, in bytes"
    return mo.ui.slider(
        steps=sizes, value=plan.current_bytes, label=label, show_value=True, full_width=True
    )


@app.function(hide_code=True)
def create_run_buttons(folder, what, changed=True):
    """Return the buttons that write a changed model, and that run it where that is possible."""
    write = mo.ui.run_button(label=f"Write {what} into a model", disabled=not changed)
    cannot_run = not (changed and has_truth(folder))
    return write, mo.ui.run_button(label=f"Run {what} on the samples", disabled=cannot_run)


@app.function(hide_code=True)
def has_truth(folder):
    """Whether models can be run here on samples of the folder."""
    return can_measure() and (folder.path / "samples.npz").is_file()


@app.function(hide_code=True)
def show_buttons(folder, *buttons):
    """Return the buttons in a line, and a sentence where there is nothing to run."""
    line = mo.hstack(buttons, justify="start", wrap=True)
    why = (
        "To run models, install onnxruntime and put samples.npz, the inputs by name and perhaps "
        "labels, into the folder."
    )
    return line if has_truth(folder) else mo.vstack([line, say([why])])


@app.function(hide_code=True)
def write_file(create, path, name):
    """Return the download of the model at ``path`` with changes, or a sentence why there is none.

    Args:
        create: returns the changes.
    """
    try:
        with mo.status.spinner("Writing the model", remove_on_exit=True):
            content, saved = write_changed_model(path, create())
    except (ValueError, OSError) as error:
        return say([f"This cannot be written: {error}."], "warn")
    link = mo.download(content, name, "application/octet-stream", label=f"Download {name}")
    done = say([tables.trial_tables.describe_saved(saved)], "success")
    return mo.vstack([done, mo.hstack([link], justify="start")])


@app.function(hide_code=True)
def show_truth(create, variants, variant, folder):
    """Return what float, today's and the changed model do on the samples, or why that failed."""
    exact, current = next(iter(variants.values())).path, variants[variant].path
    try:
        with mo.status.spinner("Running the three models", remove_on_exit=True):
            truth = measure_changes(exact, current, create(), folder.path / "samples.npz")
    except (ValueError, OSError) as error:
        return say([f"This cannot be measured: {error}."], "warn")
    return show_table(tables.trial_tables.create_truth_table(truth))


@app.function(hide_code=True)
def show_problems(title, table):
    """Return a closed list behind a warning, None if the list is empty."""
    return mo.callout(show_details(title, table), "warn") if len(table) else None


@app.cell(hide_code=True)
def ask_which_model():
    mo.md("""
    ## 1. Which model?
    """)
    return


@app.cell
def find_models():
    models_folder = Path(mo.cli_args().get("models") or Path(__file__).parent.parent / "models")
    return (models_folder,)


@app.cell
def list_networks(models_folder):
    networks = find_networks(models_folder)
    mo.stop(not networks, say([f"There is no .onnx file under {models_folder}."], "warn"))
    return (networks,)


@app.cell
def choose_model(networks):
    _query = mo.query_params()
    asked_model = _query.get("model")
    model_choice = mo.ui.dropdown(
        list(networks),
        value=asked_model if asked_model in networks else next(iter(networks)),
        label="Network",
        on_change=open_network,
    )
    model_choice
    return asked_model, model_choice


@app.cell
def explain_unknown_model(asked_model, networks):
    say(tables.text.explain_link("network", asked_model, networks), "warn")
    return


@app.cell
def read_variants(model_choice, networks):
    opened_files = identify_folder(networks[model_choice.value])
    with mo.status.spinner("Opening the files", remove_on_exit=True):
        folder = open_folder(networks[model_choice.value])
    variants = folder.variants
    files = tuple(identify_file(model.path) for model in variants.values())
    colors = figures.style.color_variants(list(variants))
    return colors, files, folder, opened_files, variants


@app.cell
def watch_files(folder, opened_files):
    get_changed, _set_changed = mo.state(False)
    watch_folder(folder.path, opened_files, _set_changed)
    return (get_changed,)


@app.cell
def tell_of_changed_files(get_changed):
    mo.stop(not get_changed())
    say(["The files of this folder have changed. Reload the page to open them again."], "warn")
    return


@app.cell
def show_unreadable_files(folder):
    say(list(folder.unreadable.values()), "danger")
    return


@app.cell
def show_variants(variants):
    mo.stop(not variants, say(["No file of this folder can be read."], "warn"))
    summaries = [summarize_variant(name, model) for name, model in variants.items()]
    mo.hstack([show_summary(one, summaries[0]) for one in summaries], widths="equal", wrap=True)
    return (summaries,)


@app.cell(hide_code=True)
def show_files(summaries):
    show_details("More about the files", tables.overview.create_variant_table(summaries))
    return


@app.cell
def show_missing_variants(summaries):
    say(tables.overview.explain_variants(summaries), "info")
    return


@app.cell(hide_code=True)
def ask_where_it_hurts():
    mo.md("""
    ## 2. Where does it hurt?
    """)
    return


@app.cell
def hold_measuring(summaries):
    # What takes long is measured beside the page, for its controls to answer: whether it is done.
    _beside = takes_long(summaries) and mo.app_meta().mode in ("edit", "run")
    get_measured, set_measured = mo.state(not _beside, allow_self_loops=True)
    get_read, set_read = mo.state((0, 1, ""))
    return get_measured, get_read, set_measured, set_read


@app.cell
def show_measuring(get_measured, get_read):
    mo.stop(get_measured())
    mo.Html(tables.text.describe_progress("Weights read", *get_read()))
    return


@app.cell
def measure_weights(folder, get_measured, set_measured, set_read, summaries):
    if not get_measured():
        start_measuring(folder, set_measured, set_read)
        mo.stop(True)
    _total = sum(summary.weight_layer_count for summary in summaries)
    with mo.status.progress_bar(
        total=_total, title="Reading the weights", remove_on_exit=True
    ) as _bar:
        comparison = compare_folder(folder, lambda *_: _bar.update())
    pairings, ranges = comparison.pairings, comparison.ranges
    return pairings, ranges, comparison


@app.cell
def judge_layers(comparison):
    with mo.status.spinner("Looking for problems", remove_on_exit=True):
        findings = find_problems(comparison)
    ranked = tables.ranking.rank_layers(comparison, findings)
    return findings, ranked


@app.cell
def show_verdict(findings, ranked):
    mo.vstack(
        [
            say([tables.ranking.summarize_findings(findings, ranked)], kind_of(findings)),
            *show_findings(tables.finding_tables.about_layer(findings, "")),
        ]
    )
    return


@app.cell
def hold_selection(pairings, ranked, variants):
    layer_options = tables.layer_tables.create_layer_options(variants, pairings)
    mo.stop(not layer_options, say(["This network has no layers."], "info"))
    # The worst layer opens; a network without weights opens its first layer.
    _names = [*(one.layer for one in ranked), *layer_options.values()]
    get_layer, get_variant, select, asked = remember_selection(
        [name for name in _names if name in set(layer_options.values())], variants
    )
    return asked, get_layer, get_variant, layer_options, select


@app.cell
def explain_unknown_selection(asked, layer_options, variants):
    _layer, _variant = asked
    _sentences = tables.text.explain_link("layer", _layer, layer_options.values())
    say([*_sentences, *tables.text.explain_link("variant", _variant, variants)], "warn")
    return


@app.cell(hide_code=True)
def explain_ranking(ranked):
    mo.md("""
    **The ranking**: one row for each quantized layer of each variant, worst first by its worst
    output channel. **SQNR** compares the float weights with their values, in decibels: 6 dB more
    is half the error, and under 20 dB hurts. Point at a heading to read what a column counts;
    click a row to look inside: it is tinted, and the address leads back to it. The keyboard
    chooses the layer below, in section 3, and has a link past the ranking.
    """) if ranked else None
    return


@app.cell
def offer_to_skip(get_layer, get_variant, ranked):
    get_layer(), get_variant()  # the link is written anew with the address
    _query = mo.query_params().to_dict()
    mo.Html(tables.text.to_skip_link("Skip the ranking", "3-why", _query)) if ranked else None
    return


@app.cell
def choose_severity(ranked):
    _options = tables.ranking.create_severity_options(ranked)
    severity_choice = mo.ui.radio(_options, value=next(iter(_options)), inline=True, label="Show")
    severity_choice if len(_options) > 1 else None
    return (severity_choice,)


@app.cell
def show_ranking(pairings, ranked, select, severity_choice):
    shown_rows = tables.ranking.select_ranked(ranked, severity_choice.value)
    show_clickable(
        tables.ranking.create_ranking(shown_rows, pairings),
        lambda row: select(shown_rows[row].layer, shown_rows[row].variant),
    )
    return (shown_rows,)


@app.cell(hide_code=True)
def explain_heatmap(ranges):
    mo.md("""
    **The ranges**: one row for each layer that has weights, in graph order. A bar runs from the
    lowest to the highest weight; its colour tells how wide that **range** is. One **scale** must
    reach across a whole range, so a bar far wider than the others leaves few codes for the small
    weights. Rows can be clicked here too.
    """) if ranges else None
    return


@app.cell
def choose_range_scale():
    log_ranges = mo.ui.switch(label="logarithmic, where one layer dwarfs the rest")
    log_ranges
    return (log_ranges,)


@app.cell
def choose_page(ranges):
    _pages = tables.ranking.list_pages(ranges)
    heatmap_page = mo.ui.dropdown(
        _pages, value=next(iter(_pages)), label="Rows", allow_select_none=False
    )
    heatmap_page if len(_pages) > 1 else None
    return (heatmap_page,)


@app.cell
def choose_panels(ranges, variants):
    _pages = figures.heatmap.page_variants(list(variants))
    heatmap_variants = mo.ui.dropdown(
        _pages, value=next(iter(_pages)), label="Variants", allow_select_none=False
    )
    heatmap_variants if ranges and len(_pages) > 1 else None
    return (heatmap_variants,)


@app.cell
def draw_heatmap(files, heatmap_page, heatmap_variants, log_ranges, ranges):
    mo.stop(not ranges, say(["No layer of this network has weights."], "info"))
    page_ranges = tables.ranking.select_page(ranges, heatmap_page.value)
    _shown, _log = heatmap_variants.value, log_ranges.value
    heatmap = figures.style.pictures.get(
        ("heatmap", files, heatmap_page.value, *_shown, _log),
        lambda: figures.heatmap.render_heatmap(page_ranges, _shown, log=_log),
    )
    _axes = figures.heatmap.create_click_axes(heatmap, len(page_ranges))
    heatmap_clicks = mo.ui.matplotlib(_axes, debounce=True)
    mo.Html(figures.panels.frame_heatmap(heatmap_clicks.text, heatmap.alt))
    return heatmap_clicks, page_ranges


@app.cell
def follow_heatmap(heatmap_clicks, page_ranges, select):
    _row = figures.heatmap.HeatmapLayout(len(page_ranges)).clicked_row(heatmap_clicks.value)
    if _row is not None:
        select(page_ranges[_row].layer)
    return


@app.cell
def mark_selected_rows(get_layer, get_variant, page_ranges, shown_rows):
    _rows = [i for i, row in enumerate(shown_rows) if row.layer == get_layer()]
    _strong = [i for i in _rows if shown_rows[i].variant == get_variant()]
    _page = [row.layer for row in page_ranges]
    _row = _page.index(get_layer()) if get_layer() in _page else None
    mo.Html(figures.panels.tint_rows(_rows, _strong) + figures.panels.outline_row(len(_page), _row))
    return


@app.cell
def show_unpaired(pairings, variants):
    _table = tables.pairing_tables.create_unpaired_table(next(iter(variants)), pairings)
    show_problems(f"{len(_table)} layers without a partner", _table)
    return


@app.cell
def show_not_understood(comparison):
    _table = tables.pairing_tables.create_not_understood_table(comparison)
    show_problems(f"{len(_table)} parameters not understood", _table)
    return


@app.cell(hide_code=True)
def ask_why():
    mo.md("""
    ## 3. Why?

    ◆ marks the layers with **quantization parameters**: at least one variant stores a scale for
    their weights, or for the numbers that enter or leave them.
    """)
    return


@app.cell
def choose_layer(get_layer, layer_options, pairings, comparison, select, variants):
    layer = get_layer()
    names = layer_names(variants, layer, pairings)
    measured = {
        name: one
        for name, one in comparison.by_variant(layer).items()
        if one.quantization is not None
    }
    create_layer_control(layer_options, layer, select)
    return layer, measured, names


@app.cell
def describe_layer(findings, get_variant, layer, names, pairings, variants):
    _about = tables.finding_tables.about_layer(findings, layer)
    _recognized = tables.pairing_tables.create_pairing_table(pairings, layer)
    stack(
        [
            *show_findings(sorted(_about, key=lambda one: one.variant != get_variant())),
            say(tables.layer_tables.explain_layer(variants, names), "info"),
            show_table(tables.layer_tables.create_parameter_table(variants, names)),
            show_details("How this layer was recognized", _recognized) if pairings else None,
        ]
    )
    return


@app.cell
def choose_count_scale():
    # Reads nothing, to stay as it is set when another network is opened.
    explanations = explain_parts()
    log_counts = mo.ui.switch(label="logarithmic counts, to see the rare weights")
    return explanations, log_counts


@app.cell
def show_count_scale(explanations, log_counts, ranges):
    mo.vstack([explanations["weights"], log_counts]) if ranges else None
    return


@app.cell
def show_histograms(files, layer, log_counts, comparison):
    _picture = figures.style.pictures.get(
        ("histograms", files, layer, log_counts.value),
        lambda: render_weights(comparison, layer, log_counts.value),
    )
    show_picture(_picture, otherwise="This layer has no weights to draw.")
    return


@app.cell
def show_channels(colors, explanations, files, layer, measured):
    mo.stop(not measured)
    _picture = figures.style.pictures.get(
        ("channels", files, layer),
        lambda: figures.channel_charts.render_channels(measured, colors, about=layer),
    )
    show_picture(_picture, explanations["channels"])
    return


@app.cell
def show_codes(colors, explanations, files, layer, log_counts, measured):
    _codes = count_codes(measured)
    mo.stop(not _codes)
    _picture = figures.style.pictures.get(
        ("codes", files, layer, log_counts.value),
        lambda: figures.code_charts.render_codes(_codes, colors, log=log_counts.value, about=layer),
    )
    show_picture(_picture, explanations["codes"])
    return


@app.cell
def show_errors(colors, explanations, files, layer, log_counts, measured, comparison):
    mo.stop(not any(one.sums.e_square is not None for one in measured.values()))
    _picture = figures.style.pictures.get(
        ("errors", files, layer, log_counts.value),
        lambda: render_layer_errors(comparison, layer, colors, log_counts.value),
    )
    show_picture(_picture, explanations["errors"])
    return


@app.cell(hide_code=True)
def ask_what_would_fix_it(variants):
    mo.md("""
    ## 4. What would fix it?

    **This layer**: the controls begin with the **scheme** that the file has, how it quantizes the
    weight. Change one, and the float weight is quantized anew and measured against today.
    """) if variants else None
    return


@app.cell
def open_trial(files, get_variant, layer, ranked, comparison, select, variants):
    # The worst stands first.
    _names = [one.variant for one in ranked if one.layer == layer and one.is_quantized]
    mo.stop(not _names, say(tables.trial_tables.explain_no_trial(list(variants))))
    trial_variant = get_variant() if get_variant() in _names else _names[0]
    # In a list: a control with a name of its own runs its readers, once more than the state.
    variant_controls = [create_variant_control(_names, trial_variant, partial(select, layer))]
    on_trial, _why = open_weight(files, comparison, trial_variant, layer)
    mo.stop(on_trial is None, say([_why]))
    get_scheme, set_scheme = mo.state(on_trial.scheme, allow_self_loops=True)
    show_details("What the controls mean", tables.trial_tables.create_control_table())
    return get_scheme, on_trial, set_scheme, trial_variant, variant_controls


@app.cell
def choose_scheme(get_scheme, on_trial, set_scheme, variant_controls):
    # Named, so that they live: what nobody holds no longer answers.
    scheme_controls = create_controls(get_scheme(), on_trial, set_scheme)
    show_controls([*variant_controls, *scheme_controls])
    return (scheme_controls,)


@app.cell
def try_scheme(files, get_scheme, on_trial, trial_variant):
    trial, _why = attempt_scheme(files, trial_variant, on_trial, get_scheme())
    mo.stop(trial is None, say([_why], "warn"))
    show_trial_numbers(trial)
    return (trial,)


@app.cell
def show_trial(colors, files, layer, log_counts, trial, trial_variant):
    _picture = figures.style.pictures.get(
        ("trial", files, layer, trial_variant, trial.tried.scheme, log_counts.value),
        lambda: figures.trial_charts.render_trial(
            trial, trial_variant, colors, log=log_counts.value, about=layer
        ),
    )
    show_picture(_picture)
    return


@app.cell
def ask_for_candidates(explanations, on_trial):
    compare = mo.ui.run_button(label=f"Compare them on {on_trial.exact.size:,} weights")
    stack([explanations["candidates"], compare if on_trial.exact.size > LARGE_WEIGHT else None])
    return (compare,)


@app.cell
def compare_candidates(compare, files, on_trial, trial_variant):
    mo.stop(on_trial.exact.size > LARGE_WEIGHT and not compare.value)
    candidates, _why = list_candidates(files, trial_variant, on_trial)
    mo.stop(candidates is None, say([_why], "warn"))
    _limits = tables.trial_tables.create_size_limits(candidates, on_trial.byte_count)
    size_limit = mo.ui.dropdown(
        _limits, value=next(iter(_limits)), label="Size", allow_select_none=False
    )
    size_limit
    return candidates, size_limit


@app.cell
def choose_candidate(candidates, on_trial, size_limit):
    shown_candidates = tables.trial_tables.select_affordable(candidates, size_limit.value)
    candidate_table = show_candidates(
        tables.trial_tables.create_candidate_table(shown_candidates, on_trial)
    )
    candidate_table
    return candidate_table, shown_candidates


@app.cell
def apply_candidate(candidate_table, set_scheme, shown_candidates):
    _chosen = [row["scheme"] for row in candidate_table.value]
    _schemes = [one.scheme for one in shown_candidates if str(one.scheme) in _chosen]
    create_apply_button(_schemes[0] if _schemes else None, set_scheme)
    return


@app.cell
def offer_trial(explanations, folder, layer, comparison, trial, trial_variant, variants):
    # A result belongs to one trial: the next one asks again.
    _changed = trial.tried.scheme != trial.current.scheme
    write_trial, run_trial = create_run_buttons(folder, "this change", _changed)
    create_trial = partial(create_change, comparison, trial_variant, layer, trial.tried.scheme)
    mo.vstack([explanations["truth"], show_buttons(folder, write_trial, run_trial)])
    return create_trial, run_trial, write_trial


@app.cell
def write_trial_file(create_trial, model_choice, trial_variant, variants, write_trial):
    mo.stop(not write_trial.value)
    _name = tables.text.name_file(f"{model_choice.value}-{trial_variant}-one-layer")
    write_file(create_trial, variants[trial_variant].path, f"{_name}.onnx")
    return


@app.cell
def show_trial_truth(create_trial, folder, run_trial, trial_variant, variants):
    mo.stop(not run_trial.value)
    show_truth(create_trial, variants, trial_variant, folder)
    return


@app.cell(hide_code=True)
def explain_plan(ranked):
    mo.md("""
    **The whole model**: the cheapest change of each layer that reaches a target. Every layer is
    tried with every candidate first; the page stays usable meanwhile.
    """) if any(one.is_quantized for one in ranked) else None
    return


@app.cell
def choose_plan_variant(ranked):
    # The variant of the worst layer stands first.
    _names = list(dict.fromkeys(one.variant for one in ranked if one.is_quantized))
    mo.stop(not _names)
    plan_choice = mo.ui.dropdown(_names, value=_names[0], label="Variant", allow_select_none=False)
    return (plan_choice,)


@app.cell
def hold_search(plan_choice, comparison):
    # What came of the search: nothing yet, an event that stops it, options, or why it ended.
    plan_variant = plan_choice.value
    get_run, set_run = mo.state(None, allow_self_loops=True)
    get_progress, set_progress = mo.state((0, 1, ""))
    return get_progress, get_run, plan_variant, set_progress, set_run


@app.cell
def control_search(get_run, plan_choice, set_run):
    plan_button = create_plan_button(get_run, set_run)
    mo.hstack([plan_choice, plan_button], justify="start")
    return (plan_button,)


@app.cell
def search_options(files, get_run, plan_variant, comparison, set_progress, set_run, variants):
    mo.stop(not isinstance(get_run(), threading.Event))
    _search = partial(list_options, comparison, plan_variant)
    start_search((files, plan_variant), _search, get_run(), set_run, set_progress)
    return


@app.cell
def show_progress(get_progress, get_run):
    mo.stop(not isinstance(get_run(), threading.Event))
    mo.Html(tables.text.describe_progress("Layers tried", *get_progress()))
    return


@app.cell
def read_options(get_run):
    _ended = say([get_run()]) if isinstance(get_run(), str) else None
    mo.stop(not isinstance(get_run(), tuple), _ended)
    plan_options, left_out = get_run()
    _table = tables.trial_tables.create_left_out_table(left_out)
    show_problems(f"{len(_table)} layers stay as they are", _table)
    return left_out, plan_options


@app.cell
def choose_target_kind(plan_options):
    mo.stop(not plan_options, say(["No layer of this variant can be changed."], "warn"))
    _kinds = {"the worst channel": "target_sqnr_db", "the size of the weights": "target_bytes"}
    target_kind = mo.ui.radio(_kinds, value="the worst channel", inline=True, label="Aim at")
    target_kind
    return (target_kind,)


@app.cell
def choose_target(left_out, plan_options, target_kind):
    target = create_target(target_kind.value, choose(plan_options, left_out, 0.0))
    target
    return (target,)


@app.cell
def make_plan(left_out, plan_options, target, target_kind):
    plan = choose(plan_options, left_out, **{target_kind.value: target.value})
    _missed = say(tables.trial_tables.explain_unreachable(plan), "warn")
    _summary = say([tables.trial_tables.summarize_plan(plan)], "success" if not _missed else "info")
    stack([_summary, _missed])
    return (plan,)


@app.cell
def show_changes(plan):
    show_table(tables.trial_tables.create_change_table(plan)) if plan.changes else None
    return


@app.cell
def show_trade_off(plan):
    show_picture(figures.trial_charts.render_trade_off(plan))
    return


@app.cell
def show_overrides(plan):
    mo.stop(not plan.changes)
    _text = show_code(plan.overrides, "TensorQuantOverrides for onnxruntime's quantizer")
    mo.vstack([mo.md("For onnxruntime's quantizer, as `TensorQuantOverrides`:"), _text])
    return


@app.cell
def offer_plan(folder, plan):
    mo.stop(not plan.changes)
    write_plan, run_plan = create_run_buttons(folder, "these changes")
    show_buttons(folder, write_plan, run_plan)
    return run_plan, write_plan


@app.cell
def prepare_plan(plan, plan_variant, comparison):
    create_plan = partial(create_changes, plan, comparison, plan_variant)
    return (create_plan,)


@app.cell
def write_plan_file(create_plan, model_choice, plan_variant, variants, write_plan):
    mo.stop(not write_plan.value)
    _name = tables.text.name_file(f"{model_choice.value}-{plan_variant}-changed")
    write_file(create_plan, variants[plan_variant].path, f"{_name}.onnx")
    return


@app.cell
def show_plan_truth(create_plan, folder, plan_variant, run_plan, variants):
    mo.stop(not run_plan.value)
    show_truth(create_plan, variants, plan_variant, folder)
    return


@app.cell(hide_code=True)
def ask_what_to_take(variants):
    mo.md("""
    ## 5. Take it with you

    **Leave layers out**: tick the layers that are to stay float, or to have a scale for each
    channel, and paste the text into the quantizer. Those with an error or a warning are ticked.
    """) if variants else None
    return


@app.cell
def choose_exclusion(findings, comparison):
    _layers, _bad = tables.finding_tables.list_layers_to_exclude(comparison, findings)
    exclude_layers = mo.ui.multiselect(_layers, value=_bad, label="Layers", full_width=True)
    exclude_tool = mo.ui.dropdown(
        [*exports.EXCLUSIONS, PER_CHANNEL], value=next(iter(exports.EXCLUSIONS)), label="For"
    )
    mo.vstack([exclude_layers, exclude_tool])
    return exclude_layers, exclude_tool


@app.cell
def show_exclusion(exclude_layers, exclude_tool, pairings, ranked, variants):
    _text = write_exclusion(exclude_tool.value, variants, pairings, exclude_layers.value, ranked)
    show_code(_text, "The text to paste")
    return


@app.cell(hide_code=True)
def explain_downloads(variants):
    mo.md("""
    **The numbers**: every metric of every layer, and every finding.
    """) if variants else None
    return


@app.cell
def offer_tables(findings, model_choice, comparison):
    _files = {
        "metrics.csv": lambda: exports.create_metrics_csv(comparison, findings),
        "findings.csv": lambda: exports.create_findings_csv(findings),
        "everything.json": lambda: exports.create_json(comparison, findings),
    }
    offer(model_choice.value, _files)
    return


@app.cell(hide_code=True)
def explain_graph_viewers(variants):
    mo.md("""
    **In the graph**: drop the Netron file onto the model in Netron and each node shows its
    numbers and findings; give the other file to Model Explorer and the nodes take the colour of
    one metric.
    """) if variants else None
    return


@app.cell
def choose_graph(ranked, variants):
    graph_file = mo.ui.dropdown(list(variants), value=next(iter(variants)), label="Opened there")
    _judged = list(dict.fromkeys(one.variant for one in ranked)) or list(variants)
    graph_variant = mo.ui.dropdown(_judged, value=_judged[0], label="Colour by variant")
    _metrics = {tables.ranking.name_metric(metric): metric for metric in METRICS}
    graph_metric = mo.ui.dropdown(
        _metrics, value=tables.ranking.choose_metric(ranked), label="and metric"
    )
    mo.hstack([graph_file, graph_variant, graph_metric], justify="start", wrap=True)
    return graph_file, graph_metric, graph_variant


@app.cell
def offer_overlays(findings, graph_file, graph_metric, graph_variant, model_choice, comparison):
    _graph, _colors = graph_file.value, (graph_variant.value, graph_metric.value)
    _files = {
        "netron.json": lambda: exports.create_netron_attachment(comparison, findings, _graph),
        "model-explorer.json": lambda: exports.create_model_explorer_data(
            comparison, *_colors, _graph
        ),
    }
    offer(model_choice.value, _files)
    return


@app.cell
def settle_once_opened(comparison):
    settle() if comparison.weights else None
    return


if __name__ == "__main__":
    app.run()

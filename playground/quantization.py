import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Quantization playground")

with app.setup(hide_code=True):
    from functools import partial
    from pathlib import Path
    from threading import Event

    import marimo as mo

    from playground.utils import exports, figures, page, tables
    from playground.utils.parameter_inspector import (
        choose,
        compare_folder,
        create_change,
        create_changes,
        extract_weight_tensors,
        find_networks,
        find_problems,
        identify_file,
        identify_folder,
        list_options,
        open_folder,
        summarize_variant,
    )


@app.cell(hide_code=True)
def introduce():
    mo.md("""
    # Quantization playground

    A **quantized** network stores its weights as small integers, the **codes**, and computes with
    their **values**: `value = (code − zero-point) × scale`. This page lays each quantized
    **variant** of a network beside its float original and shows what became of every layer.
    """)
    return


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
    mo.stop(not networks, page.say([f"There is no .onnx file under {models_folder}."], "warn"))
    return (networks,)


@app.cell
def choose_model(networks):
    asked_model = page.read_query("model")
    model_choice = mo.ui.dropdown(
        list(networks),
        value=asked_model if asked_model in networks else next(iter(networks)),
        label="Network",
        on_change=page.open_network,
    )
    model_choice
    return asked_model, model_choice


@app.cell
def explain_unknown_model(asked_model, networks):
    page.say(page.explain_link("network", asked_model, networks), "warn")
    return


@app.cell
def read_variants(model_choice, networks):
    opened_files = identify_folder(networks[model_choice.value])
    with mo.status.spinner("Opening the files", remove_on_exit=True):
        folder = open_folder(networks[model_choice.value])
    variants = folder.variants
    files = tuple(identify_file(model.path) for model in variants.values())
    return files, folder, opened_files, variants


@app.cell
def watch_files(folder, opened_files):
    get_changed, _set_changed = mo.state(False)
    page.watch_folder(folder.path, opened_files, _set_changed)
    return (get_changed,)


@app.cell
def tell_of_changed_files(get_changed):
    mo.stop(not get_changed())
    page.say(["The files in this folder have changed. Reload the page to open them again."], "warn")
    return


@app.cell
def show_unreadable_files(folder):
    page.say(tables.explain_unreadable(folder), "danger")
    return


@app.cell
def show_variants(variants):
    mo.stop(not variants, page.say(["No file in this folder can be read."], "warn"))
    summaries = [summarize_variant(name, model) for name, model in variants.items()]
    mo.hstack(page.show_summaries(summaries), widths="equal", wrap=True)
    return (summaries,)


@app.cell(hide_code=True)
def show_files(summaries):
    page.show_details("More about the files", tables.create_variant_table(summaries))
    return


@app.cell
def show_missing_variants(summaries):
    page.say(tables.explain_variants(summaries), "info")
    return


@app.cell(hide_code=True)
def dress_the_page():
    # Apart from the first words: those appear before anything is imported.
    page.show_style()
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
    get_measured, set_measured = mo.state(not page.takes_long(summaries), allow_self_loops=True)
    get_read, set_read = mo.state((0, 1, ""))
    return get_measured, get_read, set_measured, set_read


@app.cell
def show_measuring(get_measured, get_read):
    mo.stop(get_measured())
    page.show_progress("Weights read", *get_read())
    return


@app.cell
def measure_weights(folder, get_measured, set_measured, set_read, summaries):
    if not get_measured():
        page.start_measuring(folder, set_measured, set_read)
        mo.stop(True)
    with page.show_bar("Reading the weights", page.count_weights(summaries)) as _bar:
        compared = compare_folder(folder, lambda *_: _bar.update())
    return (compared,)


@app.cell
def choose_runs(compared):
    run_on = page.find_samples(compared)
    run_variants, run_optimized = page.create_measuring_controls(compared)
    return run_on, run_optimized, run_variants


@app.cell
def hold_outputs(compared, run_on, run_optimized):
    # What running found, the run that goes on, how far it is, and the shares known so far.
    get_outputs, get_outputs_run, get_news, get_shares, run_setters = page.remember_runs(
        compared, run_on, run_optimized.value
    )
    return get_news, get_outputs, get_outputs_run, get_shares, run_setters


@app.cell
def offer_measuring(
    compared, get_outputs, get_outputs_run, run_on, run_optimized, run_setters, run_variants
):
    mo.stop(isinstance(get_outputs_run(), Event) or page.is_measured(compared, get_outputs()))
    # Named, so that it lives: what nobody holds no longer answers.
    measure_button = page.create_measure_button(run_on, run_setters)
    page.offer_measuring(compared, run_on, measure_button, run_variants, run_optimized)
    return (measure_button,)


@app.cell
def control_run(get_outputs_run):
    mo.stop(not isinstance(get_outputs_run(), Event))
    stop_run = page.create_stop_button(get_outputs_run())
    stop_run
    return (stop_run,)


@app.cell
def show_run(get_news, get_outputs_run):
    mo.stop(not isinstance(get_outputs_run(), Event))
    page.show_news(get_news())
    return


@app.cell
def show_shares_so_far(compared, get_outputs_run, get_shares):
    mo.stop(not isinstance(get_outputs_run(), Event))
    page.show_so_far(compared, get_shares())
    return


@app.cell
def measure_variants(compared, get_outputs_run, run_on, run_optimized, run_setters, run_variants):
    mo.stop(not isinstance(get_outputs_run(), Event))
    _wish = page.Wish(compared, run_variants.value, run_on, run_optimized.value)
    page.run_beside(_wish, get_outputs_run(), run_setters)
    return


@app.cell
def explain_ended_run(get_outputs_run):
    _ended = get_outputs_run()
    page.say(_ended, "warn") if isinstance(_ended, tuple) else None
    return


@app.cell
def add_outputs(compared, get_outputs):
    comparison = page.add_outputs(compared, get_outputs())
    return (comparison,)


@app.cell
def judge_layers(comparison):
    with mo.status.spinner("Looking for problems", remove_on_exit=True):
        findings = find_problems(comparison)
    ranked = tables.rank_layers(comparison, findings)
    return findings, ranked


@app.cell
def show_losses(comparison, findings):
    page.show_losses(comparison, findings)
    return


@app.cell
def choose_measured(comparison):
    _measured = tables.order_measured(comparison)
    mo.stop(not _measured)
    measured_choice = page.choose_one(_measured, "Variant")
    measured_choice if len(_measured) > 1 else None
    return (measured_choice,)


@app.cell
def show_output_charts(comparison, files, measured_choice):
    page.show_output_charts(comparison, measured_choice.value, files)
    return


@app.cell
def offer_other_level(compared, get_outputs, run_optimized):
    # Beside the button until all is measured; then here, to measure again the other way.
    _is_done = page.is_measured(compared, get_outputs())
    page.offer_other_level(run_optimized) if _is_done else None
    return


@app.cell
def show_verdict(findings, ranked):
    page.show_verdict(findings, ranked)
    return


@app.cell
def hold_selection(comparison, ranked, variants):
    layer_options = tables.create_layer_options(comparison)
    mo.stop(not layer_options, page.say(["This network has no layers."], "info"))
    # The worst layer opens; a network without weights opens its first layer.
    _worst = [one.layer_name for one in ranked if one.layer_name in set(layer_options.values())]
    get_layer, get_variant, select, asked = page.remember_selection(
        [*_worst, *layer_options.values()], variants
    )
    return asked, get_layer, get_variant, layer_options, select


@app.cell
def explain_unknown_selection(asked, layer_options, variants):
    _layer, _variant = asked
    _sentences = page.explain_link("layer", _layer, layer_options.values())
    page.say([*_sentences, *page.explain_link("variant", _variant, variants)], "warn")
    return


@app.cell(hide_code=True)
def explain_ranking(ranked):
    mo.md("""
    **The ranking**: one row for each quantized layer of each variant, worst first: by its
    **share** of the noise at the output where that is measured, else by its worst output channel.
    **SQNR** compares the float weights with their values, in decibels: 6 dB more means half the
    error, and anything under 20 dB hurts. Hover over a heading to read what its
    column means. Click a row to look inside: the row is tinted, and the address becomes a link to
    it. With the keyboard, skip the ranking and choose the layer in section 3.
    """) if ranked else None
    return


@app.cell
def offer_to_skip(get_layer, get_variant, ranked):
    get_layer(), get_variant()  # the link is written anew with the address
    page.show_skip_link("Skip the ranking", "3-why") if ranked else None
    return


@app.cell
def choose_severity(ranked):
    _options = tables.create_severity_options(ranked)
    severity_choice = mo.ui.radio(_options, value=next(iter(_options)), inline=True, label="Show")
    severity_choice if len(_options) > 1 else None
    return (severity_choice,)


@app.cell
def show_ranking(comparison, ranked, select, severity_choice):
    shown_rows = tables.select_ranked(ranked, severity_choice.value)
    page.show_clickable(
        tables.create_ranking(shown_rows, comparison),
        lambda row: select(shown_rows[row].layer_name, shown_rows[row].variant),
    )
    return (shown_rows,)


@app.cell(hide_code=True)
def explain_heatmap(comparison):
    mo.md("""
    **The ranges**: one row for each layer that has weights, in graph order. A bar runs from the
    lowest to the highest weight; its colour tells how wide that **range** is. A single **scale**
    has to cover a whole range, so a bar far wider than the others leaves few codes for small
    weights. Rows can be clicked here, too.
    """) if comparison.ranges else None
    return


@app.cell
def choose_range_scale():
    log_ranges = mo.ui.switch(label="Logarithmic, for when one layer dwarfs the rest")
    log_ranges
    return (log_ranges,)


@app.cell
def choose_page(comparison):
    _pages = tables.list_pages(comparison.ranges)
    heatmap_page = page.choose_one(_pages, "Rows")
    heatmap_page if len(_pages) > 1 else None
    return (heatmap_page,)


@app.cell
def choose_panels(comparison, variants):
    _pages = figures.page_variants(list(variants))
    heatmap_variants = page.choose_one(_pages, "Variants")
    heatmap_variants if comparison.ranges and len(_pages) > 1 else None
    return (heatmap_variants,)


@app.cell
def draw_heatmap(comparison, files, heatmap_page, heatmap_variants, log_ranges):
    mo.stop(not comparison.ranges, page.say(["No layer of this network has weights."], "info"))
    page_ranges = tables.select_page(comparison.ranges, heatmap_page.value)
    heatmap = page.draw_heatmap(page_ranges, heatmap_variants.value, files, log=log_ranges.value)
    heatmap_clicks = page.make_clickable(heatmap, len(page_ranges))
    page.show_heatmap(heatmap_clicks, heatmap)
    return heatmap_clicks, page_ranges


@app.cell
def follow_heatmap(heatmap_clicks, page_ranges, select):
    _row = figures.HeatmapLayout(len(page_ranges)).clicked_row(heatmap_clicks.value)
    if _row is not None:
        select(page_ranges[_row].layer)
    return


@app.cell
def mark_selected_rows(get_layer, get_variant, page_ranges, shown_rows):
    page.mark_selected(get_layer(), get_variant(), shown_rows, page_ranges)
    return


@app.cell
def show_unpaired(comparison):
    page.show_problems("layer", "without a counterpart", tables.create_unpaired_table(comparison))
    return


@app.cell
def show_not_understood(comparison):
    _table = tables.create_not_understood_table(comparison)
    page.show_problems("parameter", "not understood", _table)
    return


@app.cell(hide_code=True)
def ask_why():
    mo.md("""
    ## 3. Why?

    ◆ marks the layers with **quantization parameters**: at least one variant stores a scale for
    their weights, their inputs or their outputs.
    """)
    return


@app.cell
def choose_layer(get_layer, layer_options, select):
    layer = get_layer()
    page.create_layer_control(layer_options, layer, select)
    return (layer,)


@app.cell
def describe_layer(comparison, findings, get_variant, layer):
    _about = tables.select_about(findings, layer)
    _matched = tables.create_pairing_table(comparison, layer)
    page.stack(
        [
            *page.show_findings(sorted(_about, key=lambda one: one.variant != get_variant())),
            page.say(tables.explain_layer(comparison, layer), "info"),
            page.show_table(tables.create_parameter_table(comparison, layer), explained=True),
            page.show_details("How this layer was recognized", _matched) if len(_matched) else None,
        ]
    )
    return


@app.cell
def choose_count_scale():
    # Reads nothing, to stay as it is set when another network is opened.
    captions = page.render_captions()
    log_counts = mo.ui.switch(label="Logarithmic counts, to show rare weights")
    return captions, log_counts


@app.cell
def show_count_scale(captions, comparison, log_counts):
    mo.vstack([captions["histograms"], log_counts]) if comparison.ranges else None
    return


@app.cell
def show_histograms(comparison, files, layer, log_counts):
    _picture = page.draw_layer_chart("histograms", comparison, files, layer, log_counts.value)
    page.show_picture(_picture, otherwise="This layer has no weights to draw.")
    return


@app.cell
def show_activations(captions, comparison, files, layer, log_counts):
    _log = log_counts.value or None
    _picture = page.draw_layer_chart("activations", comparison, files, layer, _log)
    page.show_picture(_picture, captions["activations"])
    return


@app.cell
def show_activation_numbers(comparison, layer):
    _table = tables.create_activation_table(comparison, layer)
    page.show_table(_table) if len(_table) else None
    return


@app.cell
def show_channels(captions, comparison, files, layer):
    _picture = page.draw_layer_chart("channels", comparison, files, layer)
    page.show_picture(_picture, captions["channels"])
    return


@app.cell
def show_codes(captions, comparison, files, layer, log_counts):
    _picture = page.draw_layer_chart("codes", comparison, files, layer, log_counts.value)
    page.show_picture(_picture, captions["codes"])
    return


@app.cell
def show_errors(captions, comparison, files, layer, log_counts):
    _picture = page.draw_layer_chart("errors", comparison, files, layer, log_counts.value)
    page.show_picture(_picture, captions["errors"])
    return


@app.cell(hide_code=True)
def ask_what_would_fix_it(variants):
    mo.md("""
    ## 4. What would fix it?

    **This layer**: the controls start from the **scheme** in the file, that is, how the file
    quantizes the weight. Change one, and the float weight is quantized again and compared with the
    current scheme.
    """) if variants else None
    return


@app.cell
def open_trial(comparison, files, get_variant, layer, ranked, select):
    # The worst stands first.
    _names = [one.variant for one in ranked if one.layer_name == layer and one.is_quantized]
    mo.stop(not _names, page.say(tables.explain_no_trial(list(comparison.variants))))
    trial_variant = get_variant() if get_variant() in _names else _names[0]
    # In a list: a control with a name of its own runs its readers, once more than the state.
    variant_controls = [page.create_variant_control(_names, trial_variant, partial(select, layer))]
    on_trial, _why = page.open_trial_weight(files, comparison, trial_variant, layer)
    mo.stop(on_trial is None, page.say([_why]))
    get_scheme, set_scheme = mo.state(on_trial.scheme, allow_self_loops=True)
    page.show_details("What the controls mean", tables.create_control_table(), explained=True)
    return get_scheme, on_trial, set_scheme, trial_variant, variant_controls


@app.cell
def choose_scheme(get_scheme, on_trial, set_scheme, variant_controls):
    # Named, so that they live: what nobody holds no longer answers.
    scheme_controls = page.create_controls(get_scheme(), on_trial, set_scheme)
    page.show_controls([*variant_controls, *scheme_controls])
    return (scheme_controls,)


@app.cell
def try_scheme(files, get_scheme, on_trial, trial_variant):
    trial, _why = page.attempt_scheme(files, trial_variant, on_trial, get_scheme())
    mo.stop(trial is None, page.say([_why], "warn"))
    page.show_trial_numbers(trial)
    return (trial,)


@app.cell
def show_trial(comparison, files, layer, log_counts, trial, trial_variant):
    page.show_picture(
        page.draw_trial(trial, comparison, files, layer, trial_variant, log_counts.value)
    )
    return


@app.cell
def ask_for_candidates(captions, on_trial):
    compare = mo.ui.run_button(label=f"Compare them on {on_trial.original.size:,} weights")
    page.stack([captions["candidates"], compare if page.is_large(on_trial) else None])
    return (compare,)


@app.cell
def compare_candidates(compare, files, on_trial, trial_variant):
    mo.stop(page.is_large(on_trial) and not compare.value)
    candidates, _why = page.find_candidates(files, trial_variant, on_trial)
    mo.stop(candidates is None, page.say([_why], "warn"))
    _limits = tables.create_size_limits(candidates, on_trial.byte_count)
    size_limit = page.choose_one(_limits, "Size")
    size_limit
    return candidates, size_limit


@app.cell
def choose_candidate(candidates, on_trial, size_limit):
    shown_candidates = tables.select_affordable(candidates, size_limit.value)
    candidate_table = page.show_candidates(
        tables.create_candidate_table(shown_candidates, on_trial)
    )
    candidate_table
    return candidate_table, shown_candidates


@app.cell
def apply_candidate(candidate_table, set_scheme, shown_candidates):
    _chosen = [row["scheme"] for row in candidate_table.value]
    _schemes = [one.scheme for one in shown_candidates if str(one.scheme) in _chosen]
    page.create_apply_button(_schemes[0] if _schemes else None, set_scheme)
    return


@app.cell
def offer_trial(captions, comparison, folder, layer, trial, trial_variant):
    # A result belongs to one trial: the next one asks again.
    _changed = trial.proposed.scheme != trial.current.scheme
    write_trial, run_trial = page.create_run_buttons(folder, "this change", _changed)
    create_trial = partial(create_change, comparison, trial_variant, layer, trial.proposed.scheme)
    mo.vstack([captions["check"], page.show_buttons(folder, write_trial, run_trial)])
    return create_trial, run_trial, write_trial


@app.cell
def write_trial_file(create_trial, model_choice, trial_variant, variants, write_trial):
    mo.stop(not write_trial.value)
    _name = page.name_file(f"{model_choice.value}-{trial_variant}-one-layer")
    page.write_file(create_trial, variants[trial_variant], f"{_name}.onnx")
    return


@app.cell
def run_trial_on_samples(comparison, create_trial, folder, run_trial, trial_variant):
    mo.stop(not run_trial.value)
    page.run_on_samples(create_trial, comparison, trial_variant, folder)
    return


@app.cell(hide_code=True)
def explain_plan(ranked):
    mo.md("""
    **The whole model**: the cheapest change of each layer that reaches a target. First, every
    candidate is tried on every layer; the page stays usable meanwhile.
    """) if any(one.is_quantized for one in ranked) else None
    return


@app.cell
def choose_plan_variant(ranked):
    # The variant of the worst layer stands first.
    _names = list(dict.fromkeys(one.variant for one in ranked if one.is_quantized))
    mo.stop(not _names)
    plan_choice = page.choose_one(_names, "Variant")
    return (plan_choice,)


@app.cell
def hold_search(comparison, plan_choice):
    # What came of the search: nothing yet, an event that stops it, options, or why it ended.
    plan_variant = plan_choice.value
    get_run, set_run = mo.state(None, allow_self_loops=True)
    get_progress, set_progress = mo.state((0, 1, ""))
    search = partial(list_options, comparison, plan_variant)
    return get_progress, get_run, plan_variant, search, set_progress, set_run


@app.cell
def control_search(get_run, plan_choice, set_run):
    search_button = page.create_search_button(get_run(), set_run)
    mo.hstack([plan_choice, search_button], justify="start")
    return (search_button,)


@app.cell
def search_options(files, get_run, plan_variant, search, set_progress, set_run):
    mo.stop(not isinstance(get_run(), Event))
    page.search_beside((files, plan_variant), search, get_run(), set_run, set_progress)
    return


@app.cell
def show_progress(get_progress, get_run):
    mo.stop(not isinstance(get_run(), Event))
    page.show_progress("Layers tried", *get_progress())
    return


@app.cell
def read_options(get_run):
    _ended = page.say([get_run()]) if isinstance(get_run(), str) else None
    mo.stop(not isinstance(get_run(), tuple), _ended)
    plan_options, left_out = get_run()
    page.show_problems("layer", "left unchanged", tables.create_left_out_table(left_out))
    return left_out, plan_options


@app.cell
def choose_target_kind(plan_options):
    mo.stop(not plan_options, page.say(["No layer of this variant can be changed."], "warn"))
    _kinds = {"worst channel": "target_sqnr_db", "size of the weights": "target_bytes"}
    target_kind = mo.ui.radio(_kinds, value="worst channel", inline=True, label="Target")
    target_kind
    return (target_kind,)


@app.cell
def choose_target(left_out, plan_options, target_kind):
    target = page.create_target(target_kind.value, choose(plan_options, left_out, 0.0))
    target
    return (target,)


@app.cell
def make_plan(left_out, plan_options, target, target_kind):
    plan = choose(plan_options, left_out, **{target_kind.value: target.value})
    page.show_plan(plan)
    return (plan,)


@app.cell
def show_changes(plan):
    page.show_table(tables.create_change_table(plan)) if plan.changes else None
    return


@app.cell
def show_trade_off(plan):
    page.show_picture(figures.render_trade_off(plan))
    return


@app.cell
def show_overrides(plan):
    mo.stop(not plan.changes)
    _text = exports.override_planned_weights(plan.changes)
    _code = page.show_code(_text, "TensorQuantOverrides for onnxruntime's quantizer")
    mo.vstack([mo.md("For onnxruntime's quantizer, as `TensorQuantOverrides`:"), _code])
    return


@app.cell
def offer_plan(folder, plan):
    mo.stop(not plan.changes)
    write_plan, run_plan = page.create_run_buttons(folder, "these changes")
    page.show_buttons(folder, write_plan, run_plan)
    return run_plan, write_plan


@app.cell
def prepare_plan(comparison, plan, plan_variant):
    create_plan = partial(create_changes, plan, comparison, plan_variant)
    return (create_plan,)


@app.cell
def write_plan_file(create_plan, model_choice, plan_variant, variants, write_plan):
    mo.stop(not write_plan.value)
    _name = page.name_file(f"{model_choice.value}-{plan_variant}-changed")
    page.write_file(create_plan, variants[plan_variant], f"{_name}.onnx")
    return


@app.cell
def run_plan_on_samples(comparison, create_plan, folder, plan_variant, run_plan):
    mo.stop(not run_plan.value)
    page.run_on_samples(create_plan, comparison, plan_variant, folder)
    return


@app.cell(hide_code=True)
def ask_what_to_take(variants):
    mo.md("""
    ## 5. Take it with you

    **Leave layers out**: tick the layers that should stay float, or get a scale for each channel,
    and paste the text into your quantization script. Layers with an error or a warning are ticked
    already.
    """) if variants else None
    return


@app.cell
def choose_exclusion(comparison, findings):
    _layers, _bad = tables.list_layers_to_exclude(comparison, findings)
    exclude_layers = mo.ui.multiselect(_layers, value=_bad, label="Layers", full_width=True)
    exclude_tool = page.choose_one([*exports.EXCLUSIONS, page.PER_CHANNEL], "For")
    mo.vstack([exclude_layers, exclude_tool])
    return exclude_layers, exclude_tool


@app.cell
def show_exclusion(comparison, exclude_layers, exclude_tool, ranked):
    _text = page.write_exclusion(exclude_tool.value, comparison, exclude_layers.value, ranked)
    page.show_code(_text, "The text to paste")
    return


@app.cell(hide_code=True)
def explain_downloads(variants):
    mo.md("""
    **The numbers**: every metric of every layer, and every finding.
    """) if variants else None
    return


@app.cell
def offer_tables(comparison, findings, model_choice):
    _files = {
        "metrics.csv": lambda: exports.create_metrics_csv(comparison, findings),
        "findings.csv": lambda: exports.create_findings_csv(findings),
        "everything.json": lambda: exports.create_json(comparison, findings),
    }
    page.offer_downloads(model_choice.value, _files)
    return


@app.cell(hide_code=True)
def explain_graph_viewers(variants):
    mo.md("""
    **In the graph**: open the model in Netron and drop `netron.json` onto it, and each node shows
    its numbers and findings; open it in Model Explorer and load `model-explorer.json`, and each
    node takes the colour of one metric.
    """) if variants else None
    return


@app.cell
def choose_graph(ranked, variants):
    graph_file = page.choose_one(list(variants), "Model opened there")
    _judged = list(dict.fromkeys(one.variant for one in ranked)) or list(variants)
    graph_variant = page.choose_one(_judged, "Coloured by variant")
    _metrics = tables.create_metric_options()
    graph_metric = page.choose_one(_metrics, "and metric", tables.choose_metric(ranked))
    mo.hstack([graph_file, graph_variant, graph_metric], justify="start", wrap=True)
    return graph_file, graph_metric, graph_variant


@app.cell
def offer_overlays(comparison, findings, graph_file, graph_metric, graph_variant, model_choice):
    _graph, _colors = graph_file.value, (graph_variant.value, graph_metric.value)
    _files = {
        "netron.json": lambda: exports.create_netron_attachment(comparison, findings, _graph),
        "model-explorer.json": lambda: exports.create_model_explorer_data(
            comparison, *_colors, _graph
        ),
    }
    page.offer_downloads(model_choice.value, _files)
    return


@app.cell(hide_code=True)
def ask_for_more(variants):
    mo.md("""
    ## 6. Your own cells

    This page is a notebook: `marimo edit playground/quantization.py` opens it for cells of your
    own, and they follow the selection as every cell here does. `layer` is the selected layer's
    name, `variants` holds the opened models by name, and `comparison` and `findings` what was
    measured and found. Each of the `weights` below has its `.values`, which the layer computes
    with, its `.codes` as stored, and its `.quantization` with `.scale` and `.zero_point`.
    """) if variants else None
    return


@app.cell
def explore_layer(comparison, layer, variants):
    weights = extract_weight_tensors(variants, layer, comparison.pairings)
    {name: f"{weight.data_type} {weight.shape}" for name, weight in weights.items()}
    return (weights,)


@app.cell(hide_code=True)
def settle_once_opened(comparison):
    page.settle() if comparison.weights else None
    return


if __name__ == "__main__":
    app.run()

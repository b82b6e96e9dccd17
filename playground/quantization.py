import marimo

__generated_with = "0.25.2"
app = marimo.App(
    width="full",
    app_title="Quantization playground",
    css_file="utils/page/page.css",
    html_head_file="utils/page/page.html",
)

with app.setup(hide_code=True):
    from functools import partial
    from pathlib import Path
    from threading import Event

    import marimo as mo

    from playground.utils import exports, figures, page, report, tables
    from playground.utils.parameter_inspector import (
        choose,
        compare_folder,
        extract_weight_tensors,
        find_problems,
        identify_file,
        identify_folder,
        list_options,
        open_folder,
        requantize_layer,
        summarize_variant,
    )


@app.cell(hide_code=True)
def introduce():
    mo.md("""
    # Quantization playground

    <details class="playground-help"><summary>What is this page?</summary>
    <p>A quantized network stores its weights as small integers, the <b>codes</b>, and computes with
    their <b>values</b>: value = (code − zero-point) × scale. Each tab lays a quantized
    <b>variant</b> beside its float original: what was lost, where, why, and what takes it back. The
    address links to it; <code>quantization-playground FILES</code> opens others.</p></details>
    """)
    return


@app.cell
def find_models():
    models_folder = Path(mo.cli_args().get("models") or Path(__file__).parent.parent / "models")
    return (models_folder,)


@app.cell
def list_networks(models_folder):
    networks = page.list_networks(models_folder)
    mo.stop(not networks, page.say([page.explain_no_network(models_folder)], "warn"))
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
    page.show_top(model_choice)
    return asked_model, model_choice


@app.cell
def explain_unknown_model(asked_model, networks):
    page.say(page.explain_link("network", asked_model, networks), "warn")
    return


@app.cell
def read_variants(model_choice, networks):
    place = networks[model_choice.value]
    opened_files = identify_folder(place)
    with mo.status.spinner("Opening the files", remove_on_exit=True):
        folder = open_folder(place, patience=2.0)
    variants = folder.variants
    files = tuple(identify_file(model.path) for model in variants.values())
    return files, folder, opened_files, place, variants


@app.cell
def watch_files(folder, opened_files, place):
    get_changed, _set_changed = mo.state(False)
    page.watch_folder(place, opened_files, _set_changed, folder.opening)
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
def summarize_files(variants):
    mo.stop(not variants, page.say(["No file in this folder can be read."], "warn"))
    summaries = [summarize_variant(name, model) for name, model in variants.items()]
    return (summaries,)


@app.cell
def show_missing_variants(summaries):
    page.say(tables.explain_variants(summaries), "info")
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
def hold_selection(comparison, findings, ranked):
    layer_options = tables.create_layer_options(comparison)
    mo.stop(not layer_options, page.say(["This network has no layers."], "info"))
    # The worst layer of the worst variant opens; without weights, the first layer.
    judged = tables.order_variants(comparison, findings)
    _names = tables.order_layers(ranked, judged[0], layer_options.values())
    get_layer, get_variant, get_tab, select, asked = page.remember_selection(_names, judged)
    return asked, get_layer, get_tab, get_variant, judged, layer_options, select


@app.cell
def choose_variant(get_variant):
    variant = get_variant()
    return (variant,)


@app.cell
def show_variants(comparison, findings, get_plans, get_tab, ranked, select):
    _panels = page.frame_panels(comparison, findings, ranked, get_plans())
    _news = {name: tables.spell_news(comparison, findings, name) for name in _panels}
    # Named, so that it lives: what nobody holds no longer answers.
    variant_tabs = page.create_variant_tabs(
        _panels,
        _news,
        page.find_tab(get_tab(), _panels),
        lambda name: select(variant=name, by_tab=True),
    )
    variant_tabs
    return (variant_tabs,)


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
    return (stop_run,)


@app.cell
def show_run(get_news, get_outputs_run, stop_run):
    mo.stop(not isinstance(get_outputs_run(), Event))
    page.show_news(get_news(), stop_run)
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
def explain_unknown_selection(asked, layer_options, variants):
    _layer, _variant = asked
    _sentences = page.explain_link("layer", _layer, layer_options.values())
    page.say([*_sentences, *page.explain_link("variant", _variant, variants)], "warn")
    return


@app.cell
def offer_to_skip(get_layer, get_variant, ranked):
    get_layer(), get_variant()  # the link is written anew with the address
    page.show_skip_link("Skip the layers", "layer") if ranked else None
    return


@app.cell
def choose_view():
    # Reads nothing, to stay as it is set when another network is opened.
    view_choice = mo.ui.radio(page.VIEWS, value=page.VIEWS[0], inline=True, label="View")
    every_variant = mo.ui.switch(label="All variants")
    return every_variant, view_choice


@app.cell
def choose_severity(every_variant, ranked, variant):
    listed = ranked if every_variant.value else tables.select_variant(ranked, variant)
    severity_choice = page.choose_one(tables.create_severity_options(listed), "Show")
    return listed, severity_choice


@app.cell
def fold_constants(listed, severity_choice):
    severe = tables.select_ranked(listed, severity_choice.value)
    unfolded, folded = tables.fold_constants(severe)
    constants_shown = page.create_fold(folded)
    return constants_shown, folded, severe, unfolded


@app.cell
def choose_columns(comparison, ranked):
    more_columns = page.create_columns_control(tables.list_more_columns(ranked, comparison))
    return (more_columns,)


@app.cell
def rank_rows(comparison, constants_shown, more_columns, select, severe, unfolded):
    shown_rows = severe if constants_shown.value else unfolded
    _ranking = tables.create_ranking(shown_rows, comparison, more_columns.value)
    # In a list, for what shows it not to run when it is clicked: it calls by itself.
    rankings = [page.show_clickable(_ranking, shown_rows, select)]
    return rankings, shown_rows


@app.cell
def choose_picture(comparison, ranked, view_choice):
    pictured = page.list_pictured(view_choice.value, ranked, comparison)
    picture_page = page.choose_one(tables.list_pages(pictured.rows), "Rows")
    picture_variants = page.choose_one(figures.page_variants(pictured.variants), "Variants")
    log_ranges = page.create_range_switch(pictured)
    return log_ranges, picture_page, picture_variants, pictured


@app.cell
def draw_picture(files, log_ranges, picture_page, picture_variants, pictured):
    _rows = tables.select_page(pictured.rows, picture_page.value)
    picture_layers = [row.layer for row in _rows]
    picture = page.draw_pictured(pictured, _rows, picture_variants.value, files, log_ranges.value)
    picture_clicks = page.make_clickable(picture, len(_rows)) if _rows else None
    shown_pictures = [picture_clicks]  # for what shows it not to run when it is clicked
    return picture, picture_clicks, picture_layers, shown_pictures


@app.cell
def follow_picture(picture_clicks, picture_layers, select):
    _row = page.find_clicked(picture_clicks, len(picture_layers))
    if _row is not None:
        select(picture_layers[_row])
    return


@app.cell
def list_layers(
    constants_shown, every_variant, folded, judged, more_columns, rankings, severity_choice
):
    _rows = [severity_choice] * (len(severity_choice.options) > 1)
    _variants, _constants = [every_variant] * (len(judged) > 1), [constants_shown] * bool(folded)
    listed_layers = page.show_listing(rankings[0], [*_rows, more_columns, *_variants, *_constants])
    return (listed_layers,)


@app.cell
def picture_layers_of(
    log_ranges, picture, picture_page, picture_variants, pictured, shown_pictures
):
    _controls = [picture_page, picture_variants, log_ranges]
    all_layers = page.show_pictured(pictured, picture, shown_pictures[0], _controls)
    return (all_layers,)


@app.cell
def choose_layer(get_layer, layer_options, select):
    layer = get_layer()
    # In a list: a control with a name of its own runs its readers, once more than the state.
    layer_controls = [page.create_layer_control(layer_options, layer, select)]
    return layer, layer_controls


@app.cell
def choose_count_scale():
    # Reads nothing, to stay as it is set when another network is opened.
    captions = page.render_captions()
    log_counts = mo.ui.switch(label="Logarithmic counts, to show rare weights")
    return captions, log_counts


@app.cell
def share(comparison, findings, folder, layer, model_choice, variant):
    report_button = page.offer_report(
        model_choice.value, lambda: report.create_report(folder, comparison, findings)
    )
    sharing = page.frame_sharing(report_button, page.frame_link(model_choice.value, layer, variant))
    return report_button, sharing


@app.cell
def write_layer(comparison, files, findings, layer, log_counts, sharing, variant):
    details = partial(
        page.write_details, comparison, files, findings, layer, variant, log_counts, sharing
    )
    return (details,)


@app.cell
def show_layers(all_layers, details, layer_controls, listed_layers, view_choice):
    _listed = listed_layers if all_layers is None else all_layers
    _above = page.pair(*layer_controls, view_choice)
    page.show_both([_above, _listed], details(), wide=all_layers is not None)
    return


@app.cell
def mark_selected_rows(get_layer, picture_layers, shown_rows, variant):
    page.mark_selected(get_layer(), variant, shown_rows, picture_layers)
    return


@app.cell(hide_code=True)
def ask_what_the_output_loses(comparison):
    mo.md("""
    ## What does the output lose?
    """) if comparison.outputs else None
    return


@app.cell
def show_output_charts(comparison, files, variant):
    page.show_output_charts(comparison, variant, files) if variant in comparison.outputs else None
    return


@app.cell
def offer_other_level(compared, get_outputs, run_optimized):
    # Beside the button until all is measured; then here, to measure again the other way.
    _is_done = page.is_measured(compared, get_outputs())
    page.offer_other_level(run_optimized) if _is_done else None
    return


@app.cell(hide_code=True)
def show_files(summaries):
    page.show_details("The files", tables.create_variant_table(summaries))
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
def ask_what_would_fix_it(variants):
    mo.md("""
    ## What would fix it?
    """) if variants else None
    return


@app.cell
def hold_plans(compared, run_on):
    # The plans of each variant, the search that goes on, how far it is, and the steps so far.
    get_plans, get_plan_run, get_plan_news, get_steps, plan_setters = page.remember_plans(
        compared, run_on
    )
    get_plan_name, set_plan_name = mo.state(page.FIRST_PLAN, allow_self_loops=True)
    return (
        get_plan_name,
        get_plan_news,
        get_plan_run,
        get_plans,
        get_steps,
        plan_setters,
        set_plan_name,
    )


@app.cell
def explain_no_search(compared, run_on, variant):
    _why = page.why_no_search(compared, variant, run_on)
    page.say([_why] if _why else [])
    return


@app.cell
def choose_plan_target(run_on):
    plan_target_kind = page.create_target_kind(run_on)
    return (plan_target_kind,)


@app.cell
def choose_plan_value(plan_target_kind):
    plan_target_value = page.create_target_value(plan_target_kind.value)
    return (plan_target_value,)


@app.cell
def offer_to_plan(
    compared, get_plan_run, plan_setters, plan_target_kind, plan_target_value, run_on, variant
):
    mo.stop(page.is_planning(get_plan_run()) or page.why_no_search(compared, variant, run_on))
    _value = None if plan_target_value is None else plan_target_value.value
    _goal = page.create_goal(plan_target_kind.value, _value)
    # Named, so that it lives: what nobody holds no longer answers.
    plan_button = page.create_plan_button(variant, _goal, plan_setters)
    page.offer_plan_search(plan_button, plan_target_kind, plan_target_value, variant)
    return (plan_button,)


@app.cell
def control_planning(get_plan_run):
    mo.stop(not page.is_planning(get_plan_run()))
    stop_planning = page.create_plan_stop(get_plan_run())
    return (stop_planning,)


@app.cell
def show_planning(get_plan_news, get_plan_run, stop_planning):
    mo.stop(not page.is_planning(get_plan_run()))
    page.show_plan_news(get_plan_news(), stop_planning)
    return


@app.cell
def show_steps_so_far(get_plan_run, get_steps):
    mo.stop(not page.is_planning(get_plan_run()))
    page.show_plan_so_far(get_steps())
    return


@app.cell
def plan_variants(compared, get_plan_run, plan_setters, run_on):
    mo.stop(not page.is_planning(get_plan_run()))
    page.plan_beside(compared, run_on, get_plan_run(), plan_setters)
    return


@app.cell
def explain_ended_plan(get_plan_run):
    _ended = get_plan_run()
    page.say(_ended, "warn") if isinstance(_ended, tuple) else None
    return


@app.cell
def show_found_plans(get_plan_run, get_plans, variant, variants):
    found_plans = get_plans().get(variant, ())
    mo.stop(page.is_planning(get_plan_run(), variant) or not found_plans)
    page.show_found(found_plans, variants[variant].file_bytes)
    return (found_plans,)


@app.cell
def choose_plan(found_plans, get_plan_name, set_plan_name):
    taken = page.find_taken(found_plans, get_plan_name())
    mo.stop(taken is None)
    # In a list: a control with a name of its own runs its readers, once more than the state.
    plan_choices = [page.create_plan_choice(found_plans, taken, set_plan_name)]
    plan_choices[0]
    return plan_choices, taken


@app.cell
def show_taken_moves(taken):
    page.show_moves(taken)
    return


@app.cell
def offer_to_take(compared, model_choice, taken, variant):
    write_taken, _recipe = page.create_taking_buttons(compared, taken, variant, model_choice.value)
    mo.hstack([write_taken, _recipe], justify="start", align="center", wrap=True)
    return (write_taken,)


@app.cell
def write_taken_plan(compared, model_choice, run_on, taken, variant, write_taken):
    mo.stop(not write_taken.value)
    page.write_plan(compared, taken, variant, run_on, model_choice.value)
    return


@app.cell
def show_taken_exclusions(compared, taken):
    page.show_exclusions(compared, taken)
    return


@app.cell
def hold_maps(compared, run_on):
    # The map of each variant, the measuring that goes on, the map so far, and the chosen cell.
    get_maps, get_map_run, get_map_so_far, map_setters = page.remember_maps(compared, run_on)
    get_cell, set_cell = mo.state(None, allow_self_loops=True)
    return get_cell, get_map_run, get_map_so_far, get_maps, map_setters, set_cell


@app.cell
def offer_to_map(compared, get_map_run, get_maps, map_setters, run_on, variant):
    _is_known = page.is_mapping(get_map_run()) or variant in get_maps()
    mo.stop(_is_known or page.why_no_search(compared, variant, run_on))
    # Named, so that it lives: what nobody holds no longer answers.
    map_button = page.create_map_button(variant, map_setters)
    page.offer_map(map_button)
    return (map_button,)


@app.cell
def control_mapping(get_map_run):
    mo.stop(not page.is_mapping(get_map_run()))
    stop_mapping = page.create_map_stop(get_map_run())
    return (stop_mapping,)


@app.cell
def show_mapping(get_map_run, get_map_so_far, stop_mapping):
    mo.stop(not page.is_mapping(get_map_run()))
    page.show_map_so_far(get_map_so_far(), stop_mapping)
    return


@app.cell
def map_variants(compared, get_map_run, map_setters, run_on):
    mo.stop(not page.is_mapping(get_map_run()))
    page.map_beside(compared, run_on, get_map_run(), map_setters)
    return


@app.cell
def explain_ended_map(get_map_run):
    _ended = get_map_run()
    page.say(_ended, "warn") if isinstance(_ended, tuple) else None
    return


@app.cell
def show_found_map(get_map_run, get_maps, variant):
    found_map = get_maps().get(variant)
    mo.stop(page.is_mapping(get_map_run(), variant) or found_map is None)
    map_clicks = page.make_map_clickable(found_map)
    page.show_map(found_map, map_clicks)
    return found_map, map_clicks


@app.cell
def follow_map(found_map, map_clicks, set_cell):
    _cell = page.find_clicked_cell(found_map, map_clicks.value)
    if _cell is not None:
        set_cell(_cell)
    return


@app.cell
def choose_cell(found_map, get_cell, set_cell):
    cell = page.find_cell(found_map, get_cell())
    # In a list: a control with a name of its own runs its readers, once more than the state.
    cell_choices = [page.create_cell_choice(found_map, cell, set_cell)]
    cell_choices[0]
    return cell, cell_choices


@app.cell
def show_chosen_cell(cell, compared, found_map, model_choice, variant):
    page.show_cell(compared, variant, found_map, cell, model_choice.value)
    return


@app.cell
def offer_to_reach(get_cell, get_maps, get_plans, set_plan_name, variant):
    # By states alone: it runs when plans are found, and there may be no map then.
    # Named, so that it lives: what nobody holds no longer answers.
    reach_button = page.create_reach_button(
        get_maps().get(variant), get_cell(), get_plans().get(variant, ()), set_plan_name
    )
    reach_button
    return (reach_button,)


@app.cell(hide_code=True)
def explain_trying(variants):
    mo.md("""
    **This layer**: the controls start from the **scheme** in the file, that is, how the file
    quantizes the weight. Change one, and the float weight is quantized again and compared with the
    current scheme.
    """) if variants else None
    return


@app.cell
def open_trial(comparison, files, layer, ranked, select, variant):
    # The worst stands first.
    _names = [one.variant for one in ranked if one.layer_name == layer and one.is_quantized]
    mo.stop(not _names, page.say(tables.explain_no_trial(list(comparison.variants))))
    trial_variant = variant if variant in _names else _names[0]
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
    _parts = comparison, trial_variant, layer, trial.proposed.scheme
    create_trial = partial(requantize_layer, *_parts)
    mo.vstack([captions["check"], page.show_buttons(folder, write_trial, run_trial)])
    return create_trial, run_trial, write_trial


@app.cell
def write_trial_file(comparison, create_trial, model_choice, trial_variant, write_trial):
    mo.stop(not write_trial.value)
    _name = page.name_file(f"{model_choice.value}-{trial_variant}-one-layer")
    page.write_file(create_trial, comparison, trial_variant, f"{_name}.onnx")
    return


@app.cell
def run_trial_on_samples(comparison, create_trial, folder, run_trial, trial_variant):
    mo.stop(not run_trial.value)
    page.run_on_samples(create_trial, comparison, trial_variant, folder)
    return


@app.cell(hide_code=True)
def explain_plan(ranked):
    mo.md("""
    **By the weights alone**: the cheapest change of each layer whose worst channel reaches a
    target; what the output gains is not measured. First, every candidate is tried on every layer;
    the page stays usable meanwhile.
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
def write_plan_file(comparison, model_choice, plan, plan_variant, write_plan):
    mo.stop(not write_plan.value)
    _name = page.name_file(f"{model_choice.value}-{plan_variant}-changed")
    page.write_file(lambda: plan.moves, comparison, plan_variant, f"{_name}.onnx")
    return


@app.cell
def run_plan_on_samples(comparison, folder, plan, plan_variant, run_plan):
    mo.stop(not run_plan.value)
    page.run_on_samples(lambda: plan.moves, comparison, plan_variant, folder)
    return


@app.cell(hide_code=True)
def ask_what_to_take(variants):
    mo.md("""
    ## Take it with you

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
    ## Your own cells

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

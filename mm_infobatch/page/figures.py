"""The charts of the page, by Plotly: each function returns a figure as JSON text.

Plotly reads some HTML in the texts of a figure, such as ``<b>`` and ``<a>``, so every text that is
not ours goes through :func:`plain`.
"""

import html
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from .binning import scores_by_pass, spread_map
from .run_facts import Curve, RunFacts

AXES = {'iterations': 'iterations', 'samples': 'samples trained on', 'time': 'training time (h)'}
SCALE = 'Cividis'
GRID = 'rgba(128,128,128,0.25)'


def plain(text: str) -> str:
    """A text that Plotly shows as it is, without markup."""
    return html.escape(text, quote=False)


def _layout(height: int, **more: Any) -> Dict[str, Any]:
    return dict(
        height=height,
        margin=dict(l=60, r=16, t=36, b=48),
        template='none',
        font=dict(family='system-ui, sans-serif', size=12),
        paper_bgcolor='rgba(0,0,0,0)',
        plot_bgcolor='rgba(0,0,0,0)',
        legend=dict(orientation='h', x=0, y=1.0, yanchor='bottom', bgcolor='rgba(0,0,0,0)'),
        modebar=dict(bgcolor='rgba(0,0,0,0)', color='rgba(128,128,128,0.8)', activecolor='#808080'),
        hovermode='closest',
        **more,
    )


def _finite(values: np.ndarray) -> List[Optional[float]]:
    """Values for JSON, which has no NaN."""
    return [float(f'{value:.6g}') if np.isfinite(value) else None for value in values]


def _trace(curve: Curve, run: RunFacts, axis: str) -> Dict[str, Any]:
    line: Dict[str, Any] = dict(color=run.color, width=1 if curve.style == 'faint' else 2)
    if curve.style == 'steps':
        line['shape'] = 'hv'
    if curve.style == 'dashed':
        line['dash'] = 'dot'
    return dict(
        x=_finite(curve.positions.get(axis, np.full(len(curve.values), np.nan))),
        y=_finite(curve.values),
        mode='lines+markers' if curve.style == 'points' else 'lines',
        name=plain(run.label),
        legendgroup=plain(run.label),
        line=line,
        opacity=0.3 if curve.style == 'faint' else 1,
        hoverinfo='skip' if curve.style == 'faint' else 'x+y+name',
    )


def curves(runs: Sequence[RunFacts]) -> str:
    """Loss, metric, learning rate, share pruned and threshold of all runs.

    One chart below the other, on one x axis that counts iterations, samples or time.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    panels = list(dict.fromkeys(curve.panel for run in runs for curve in run.curves))
    figure = make_subplots(
        rows=max(len(panels), 1),
        shared_xaxes=True,
        vertical_spacing=0.045,
        subplot_titles=[plain(panel) for panel in panels],
    )
    drawn = [(run, curve.thinned()) for run in runs for curve in run.curves]
    legend = set()
    for run, curve in drawn:
        trace = go.Scatter(**_trace(curve, run, 'iterations'))
        trace.showlegend = curve.style == 'line' and run.label not in legend
        if trace.showlegend:
            legend.add(run.label)
        figure.add_trace(trace, row=panels.index(curve.panel) + 1, col=1)
    buttons = [
        dict(
            label=axis,
            method='update',
            args=[
                {'x': [_trace(curve, run, axis)['x'] for run, curve in drawn]},
                {f'xaxis{len(panels) if len(panels) > 1 else ""}.title.text': title},
            ],
        )
        for axis, title in AXES.items()
        if all(axis in curve.positions for _, curve in drawn)
    ]
    height = 190 * len(panels)  # of the charts; above them lie a row of buttons and the legend
    menu = dict(
        type='buttons', direction='right', buttons=buttons, x=0, xanchor='left',
        y=1 + 52 / height, yanchor='bottom', pad=dict(b=0, l=0), showactive=True,
        bgcolor='#dfe3e6', bordercolor='#c5cbd1',
        font=dict(color='#222222'),
    )  # fmt: skip
    figure.update_layout(**_layout(height + 170, updatemenus=[menu]))
    figure.update_layout(margin=dict(t=120, b=50), legend=dict(y=1 + 20 / height))
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID)
    figure.update_xaxes(title_text=AXES['iterations'], row=len(panels), col=1)
    for title in figure.layout.annotations:
        title.update(x=0, xanchor='left', font=dict(size=13))
    for number, panel in enumerate(panels):
        if 'share' in panel:
            figure.update_yaxes(tickformat='.0%', rangemode='tozero', row=number + 1, col=1)
    return figure.to_json()


def scores(run: RunFacts) -> Optional[str]:
    """The distribution of the scores in each pass, with the threshold; None without histograms."""
    import plotly.graph_objects as go

    histograms = scores_by_pass(run.passes)
    if histograms is None:
        return None
    numbers, edges, shares = histograms
    if edges[0] <= 0:  # which a log axis cannot show
        edges = np.concatenate([[edges[1] / 10], edges[1:]])
    bins = [f'{low:.3g} to {high:.3g}' for low, high in zip(edges, edges[1:])]
    figure = go.Figure(
        go.Heatmap(
            x=numbers,
            y=_finite(edges),
            z=[[share or None for share in row] for row in shares.T.round(6).tolist()],
            customdata=[[text] * len(numbers) for text in bins],
            colorscale=SCALE,
            colorbar=dict(title='share', tickformat='.0%', thickness=12, outlinewidth=0),
            hovertemplate='pass %{x}<br>score %{customdata}<br>%{z:.2%} of the samples'
            '<extra></extra>',
        )
    )
    thresholds = [(row['pass'], row['threshold']) for row in run.passes if row.get('threshold')]
    if thresholds:
        figure.add_trace(
            go.Scatter(
                x=[number for number, _ in thresholds],
                y=[value for _, value in thresholds],
                mode='lines+markers',
                line=dict(color='#D55E00', width=2),
                name='threshold',
                showlegend=True,
            )
        )
    figure.update_layout(**_layout(380))
    figure.update_xaxes(title='pass', gridcolor=GRID, zeroline=False, tickformat='d')
    figure.update_yaxes(
        title='score (loss, log scale)',
        type='log',
        gridcolor=GRID,
        dtick=1,
        exponentformat='none',
        automargin=True,
    )
    return figure.to_json()


def hard_easy_map(mean: np.ndarray, spread: np.ndarray, trained: np.ndarray) -> Optional[str]:
    """Samples by mean and spread of their losses; None if none was trained twice."""
    import plotly.graph_objects as go

    counted = spread_map(mean, spread, trained)
    if counted is None:
        return None
    spreads, means, counts = counted
    ticks = [digit * 10**power for power in range(8) for digit in (1, 3)]
    figure = go.Figure(
        go.Heatmap(
            x=_finite(spreads),
            y=_finite(means),
            z=[[float(f'{np.log10(n):.4g}') if n else None for n in row] for row in counts],
            customdata=counts.tolist(),
            colorscale=SCALE,
            colorbar=dict(
                title='samples',
                thickness=12,
                outlinewidth=0,
                tickvals=np.log10(ticks).tolist(),
                ticktext=[f'{tick:,}' for tick in ticks],
            ),
            hovertemplate='spread %{x:.3g}<br>mean loss %{y:.3g}<br>%{customdata:,} samples'
            '<extra></extra>',
        )
    )
    for text, x, y, anchor in (
        ('hard', 0.02, 0.97, 'left'),
        ('ambiguous', 0.98, 0.5, 'right'),
        ('easy', 0.02, 0.03, 'left'),
    ):
        figure.add_annotation(
            text=text, x=x, y=y, xref='paper', yref='paper', xanchor=anchor, showarrow=False,
            font=dict(size=13, color='#fff'), bgcolor='rgba(20,24,28,0.75)', borderpad=3,
        )  # fmt: skip
    figure.update_layout(**_layout(420))
    figure.update_xaxes(title='spread of the losses', gridcolor=GRID, zeroline=False)
    figure.update_yaxes(title='mean loss', gridcolor=GRID, zeroline=False)
    return figure.to_json()

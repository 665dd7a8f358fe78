package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/sealedblob/sealedblob/policy"
	"github.com/spf13/cobra"
)

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Check and explain policy files", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("policy wants check, explain or schema")
		}}
	cmd.AddCommand(newPolicyCheck(), newPolicyExplain(), newPolicySchema())
	return cmd
}

// policyFlags are common to check and explain.
type policyFlags struct {
	overlays []string
	json     bool
}

func (f *policyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.overlays, "overlay", nil, "tighten the policy by this `FILE`; may be repeated")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, version 1")
}

func newPolicyCheck() *cobra.Command {
	var f policyFlags
	cmd := &cobra.Command{
		Use: "check FILE… [--overlay FILE]", Args: cobra.MinimumNArgs(1),
		Short: "Tell all that is wrong with policies",
		Long: `Load each policy file, alone or under overlays that may only tighten it. What is wrong
is told with its line, one problem a line. Exit code 0 if all are good, 2 otherwise.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return f.check(cmd, args[0])
			}
			refused := 0
			for _, file := range args {
				if err := f.check(cmd, file); err != nil {
					report(cmd.ErrOrStderr(), err)
					refused++
				}
			}
			if refused > 0 {
				return usage("%d of %d policies are refused", refused, len(args))
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func (f *policyFlags) check(cmd *cobra.Command, file string) error {
	p, _, err := f.load(cmd, file)
	if err != nil {
		return err
	}
	if f.json {
		_, needed := p.NeedsStore()
		return printJSON(cmd, "policy check", map[string]any{
			"good": true, "exit": exitGood, "file": file, "policy": p.Version(), "attributes": len(p.Rules()), "needs_store": needed,
		})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "good: %s, version %s, %d attributes%s\n", printable(file), p.Version(), len(p.Rules()), storeNote(p))
	return nil
}

// storeNote tells that the policy can't be used with none:.
func storeNote(p *policy.Policy) string {
	name, needed := p.NeedsStore()
	if !needed {
		return ""
	}
	return fmt.Sprintf(", needs a replay store (%s)", name)
}

func newPolicyExplain() *cobra.Command {
	var f policyFlags
	cmd := &cobra.Command{
		Use: "explain FILE [--overlay FILE]", Args: cobra.ExactArgs(1),
		Short: "Show every rule with its value and who said it",
		Long: `Show every rule of a policy with its effective value, and where that was said: in the
file, in an overlay, or nowhere, which is its default.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, files, err := f.load(cmd, args[0])
			if err != nil {
				return err
			}
			if f.json {
				return explainJSON(cmd, p, files)
			}
			return explainTable(cmd, p, files)
		},
	}
	f.add(cmd)
	return cmd
}

func newPolicySchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Args: cobra.NoArgs,
		Short: "Print the JSON Schema of policy files, for editors",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), policy.Schema())
			return err
		},
	}
}

// load reads a policy and its overlays. The files are the policy's and then the
// overlays', in order.
func (f *policyFlags) load(cmd *cobra.Command, file string) (p *policy.Policy, files []string, err error) {
	files = append([]string{file}, f.overlays...)
	for i, name := range files {
		text, err := readPolicy(cmd, name)
		if err != nil {
			return nil, nil, err
		}
		if i == 0 {
			p, err = policy.Parse(text)
		} else {
			p, err = policy.Overlay(p, text)
		}
		if err != nil {
			return nil, nil, f.refused(cmd, files, err)
		}
	}
	return p, files, nil
}

func readPolicy(cmd *cobra.Command, file string) ([]byte, error) {
	in, err := openInput(cmd, []string{file})
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := readAtMost(in, policy.MaxFile)
	if err != nil {
		return nil, fail(exitUsage, fmt.Errorf("%s: %w", file, err))
	}
	return text, nil
}

// refused prints all problems but the last, which is the command's error.
func (f *policyFlags) refused(cmd *cobra.Command, files []string, err error) error {
	problems, ok := errors.AsType[policy.Problems](err)
	if !ok {
		return fail(exitUsage, err)
	}
	if f.json {
		list := make([]map[string]any, len(problems))
		for i, p := range problems {
			list[i] = source(p.Source, files)
			list[i]["name"], list[i]["rule"], list[i]["text"] = p.Name, p.Rule, p.Text
		}
		if err := printJSON(cmd, "policy "+cmd.Name(), map[string]any{"good": false, "exit": exitUsage, "file": files[0], "problems": list}); err != nil {
			return err
		}
	}
	var last error
	for _, p := range problems {
		if last != nil {
			report(cmd.ErrOrStderr(), last)
		}
		last = fail(exitUsage, errors.New(problemLine(p, files)))
	}
	return last
}

// problemLine is FILE:LINE:COLUMN, as editors find it, and what is wrong.
func problemLine(p policy.Problem, files []string) string {
	line := fileLine(p.Source, files)
	if p.Source.Column > 0 {
		line += fmt.Sprintf(":%d", p.Source.Column)
	}
	p.Source = policy.Source{} // it is said already
	return line + ": " + p.Error()
}

// fileLine names a source's file: files are the policy's and then its overlays'.
func fileLine(s policy.Source, files []string) string {
	name := printable(files[s.Overlay])
	if s.Line > 0 {
		name += fmt.Sprintf(":%d", s.Line)
	}
	return name
}

// said is a source in the table. There is no Go code here.
func said(s policy.Source, files []string) string {
	if s.Origin == policy.FromDefault {
		return "default"
	}
	return fileLine(s, files)
}

// source is a place for machines.
func source(s policy.Source, files []string) map[string]any {
	from := map[policy.Origin]string{policy.FromFile: "file", policy.FromOverlay: "overlay"}[s.Origin]
	if from == "" {
		return map[string]any{"from": "default"}
	}
	out := map[string]any{"from": from, "file": files[s.Overlay]}
	if s.Line > 0 {
		out["line"], out["column"] = s.Line, s.Column
	}
	return out
}

func explainTable(cmd *cobra.Command, p *policy.Policy, files []string) error {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "ATTRIBUTE\tRULE\tVALUE\tSOURCE\n")
	for _, v := range p.Explain() {
		attribute, value := "(session)", "none" // no attribute can be called so
		if v.Attribute != "" {
			attribute = v.Attribute
		}
		if v.Value != nil {
			value = fmt.Sprint(v.Value)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", attribute, v.Rule, value, said(v.Source, files))
	}
	if err := w.Flush(); err != nil {
		return fail(exitFailure, fmt.Errorf("writing the result: %w", err))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "version %s%s\n", p.Version(), storeNote(p))
	return nil
}

func explainJSON(cmd *cobra.Command, p *policy.Policy, files []string) error {
	rules := []map[string]any{}
	for _, v := range p.Explain() {
		rule := map[string]any{"rule": v.Rule, "value": v.Value, "source": source(v.Source, files)}
		if v.Attribute != "" {
			rule["attribute"] = v.Attribute
		}
		rules = append(rules, rule)
	}
	_, needed := p.NeedsStore()
	return printJSON(cmd, "policy explain", map[string]any{"policy": p.Version(), "needs_store": needed, "rules": rules})
}
